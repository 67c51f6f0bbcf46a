//! What the control plane says over ACS.
//!
//! Source: ecs-agent-protocol, "Messages" and "PayloadMessage".

use crate::depends;
use crate::effect::{Effect, Record};
use crate::engine::Engine;
use crate::parse;
use crate::plan::TaskPlan;
use crate::task::{Container, Desired, Status, Task};
use api::acs;
use api::channel::AcsMessage;
use std::sync::Arc;
use stdx::{Timestamp, id};

impl Engine {
    pub(crate) fn message(&mut self, message: AcsMessage, now: Timestamp) {
        // An instance that goes down takes nothing on; what is not acknowledged comes again.
        if self.stopping.is_some() && !matches!(message, AcsMessage::HeartbeatMessage(_)) {
            return;
        }
        match message {
            AcsMessage::PayloadMessage(payload) => self.payload(&payload, now),
            AcsMessage::IAMRoleCredentialsMessage(message) => self.fresh_credentials(message),
            AcsMessage::TaskManifestMessage(manifest) => self.task_manifest(&manifest),
            AcsMessage::TaskStopVerificationAck(verified) => self.stop_verified(&verified),
            AcsMessage::HeartbeatMessage(heartbeat) => {
                self.answer(acs::HeartbeatAckRequest { message_id: heartbeat.message_id });
            }
            AcsMessage::StageUpdateMessage(m) => {
                self.refuse_update(m.cluster_arn, m.container_instance_arn, m.message_id);
            }
            AcsMessage::PerformUpdateMessage(m) => {
                self.refuse_update(m.cluster_arn, m.container_instance_arn, m.message_id);
            }
            // Network interfaces and volumes are not attached here, and such messages are only acknowledged when they
            // are; the rest have no effect on an agent, or go the other way.
            AcsMessage::AttachInstanceNetworkInterfacesMessage(_)
            | AcsMessage::AttachTaskNetworkInterfacesMessage(_)
            | AcsMessage::ConfirmAttachmentMessage(_)
            | AcsMessage::CloseMessage(_)
            | AcsMessage::ErrorMessage(_)
            | AcsMessage::AckRequest(_)
            | AcsMessage::NackRequest(_)
            | AcsMessage::HeartbeatAckRequest(_)
            | AcsMessage::IAMRoleCredentialsAckRequest(_)
            | AcsMessage::TaskStopVerificationMessage(_) => {}
        }
    }

    fn refuse_update(
        &mut self,
        cluster: Option<String>,
        instance: Option<String>,
        message_id: Option<String>,
    ) {
        self.answer(acs::NackRequest {
            cluster,
            container_instance: instance,
            message_id,
            reason: Some("Updates are disabled".to_owned()),
        });
    }

    fn payload(&mut self, payload: &acs::PayloadMessage, now: Timestamp) {
        if payload.message_id.is_none() || payload.cluster_arn.is_none() {
            return;
        }
        self.raise_timeline(payload.seq_num.map_or(0, i64::from));
        let tasks = payload.tasks.as_deref().unwrap_or_default();
        let stops = |t: &&acs::Task| t.desired_status.as_deref() == Some("STOPPED");
        let mut all = true;
        for task in tasks.iter().filter(stops).chain(tasks.iter().filter(|t| !stops(t))) {
            for credentials in
                [&task.role_credentials, &task.execution_role_credentials].into_iter().flatten()
            {
                self.payload_credentials(payload, credentials);
            }
            all &= self.take_task(task, now);
        }
        if all {
            self.answer(acs::AckRequest {
                cluster: payload.cluster_arn.clone(),
                container_instance: payload.container_instance_arn.clone(),
                message_id: payload.message_id.clone(),
            });
        }
    }

    fn payload_credentials(&mut self, payload: &acs::PayloadMessage, credentials: &acs::IAMRoleCredentials) {
        let Some(id) = credentials.credentials_id.clone().filter(|id| !id.is_empty()) else { return };
        self.answer(acs::IAMRoleCredentialsAckRequest {
            message_id: payload.message_id.clone(),
            credentials_id: Some(id.clone()),
            expiration: credentials.expiration.clone(),
        });
        self.credentials.insert(id, credentials.clone());
    }

    /// Starts, stops or knows already; false if the task could not be understood.
    fn take_task(&mut self, sent: &acs::Task, now: Timestamp) -> bool {
        let desired = parse::desired(sent);
        if let Some(&key) = sent.arn.as_ref().and_then(|arn| self.by_arn.get(arn)) {
            let Some(task) = self.tasks.get_mut(&key) else { return false };
            if desired == Ok(Desired::Stopped) {
                task.stop(None);
            }
            // Whoever asks for a task that has ended has not heard of its end.
            task.passing.report_again |= task.known == Status::Stopped && task.reported == Status::Stopped;
            let understood = !task.unreadable;
            self.touch(key);
            return understood;
        }
        match desired.and_then(|desired| Ok((desired, parse::plan(sent)?))) {
            Ok((desired, plan)) => {
                self.new_task(plan, desired, now);
                true
            }
            Err(text) => {
                self.unreadable_task(sent, &text, now);
                false
            }
        }
    }

    fn new_task(&mut self, plan: TaskPlan, desired: Desired, now: Timestamp) {
        let resolvable = depends::resolvable(&plan, self.config.health_checks);
        let containers = plan.containers.iter().map(|c| self.new_container(&plan, &c.name)).collect();
        let mut task = Task { containers, ..blank(plan, now) };
        if desired == Desired::Stopped {
            task.stop(None);
        } else if !resolvable {
            task.stop(Some(format!("Task dependencies cannot be resolved, taskArn: {}", task.arn())));
        }
        self.admit_later(task);
    }

    /// Source: ecs-agent-protocol, "What a container looks like in Docker".
    fn new_container(&mut self, plan: &TaskPlan, name: &str) -> Container {
        let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let suffix = &id::hex32(&mut self.rng)[..20];
        Container {
            runtime_name: format!("ecs-{}-{}-{plain}-{suffix}", plan.family, plan.version),
            endpoint_id: id::uuid(&mut self.rng),
            ..Container::default()
        }
    }

    /// A task that nobody can run is reported stopped and its message is not acknowledged.
    fn unreadable_task(&mut self, sent: &acs::Task, text: &str, now: Timestamp) {
        let Some(arn) = sent.arn.clone().filter(|arn| !arn.is_empty()) else { return };
        let mut task = blank(TaskPlan { arn, ..TaskPlan::default() }, now);
        task.unreadable = true;
        task.stop(Some(format!("UnrecogniedTaskError: Error loading task - {text}")));
        self.admit_later(task);
    }

    fn fresh_credentials(&mut self, message: acs::IAMRoleCredentialsMessage) {
        let Some(credentials) = message.role_credentials else { return };
        let complete = message.message_id.is_some() && message.role_type.is_some();
        let id = credentials.credentials_id.clone().filter(|id| !id.is_empty() && complete);
        let (Some(id), Some(arn)) = (id, message.task_arn) else { return };
        let task = self.by_arn.get(&arn).copied();
        if let Some(key) = task {
            self.answer(acs::IAMRoleCredentialsAckRequest {
                message_id: message.message_id,
                credentials_id: Some(id.clone()),
                expiration: credentials.expiration.clone(),
            });
            // A pull may have waited for them.
            for container in self.tasks.get_mut(&key).into_iter().flat_map(|t| &mut t.containers) {
                if container.known == Status::None {
                    container.passing.retry_at = None;
                }
            }
            self.touch(key);
        }
        self.credentials.insert(id, credentials);
    }

    fn task_manifest(&mut self, manifest: &acs::TaskManifestMessage) {
        let timeline = manifest.timeline.unwrap_or_default();
        if timeline <= self.timeline {
            return;
        }
        self.raise_timeline(timeline);
        self.manifest.clone_from(&manifest.message_id);
        self.answer(acs::AckRequest {
            cluster: manifest.cluster_arn.clone(),
            container_instance: manifest.container_instance_arn.clone(),
            message_id: manifest.message_id.clone(),
        });
        let wanted = |arn: &str| {
            let mut tasks = manifest.tasks.iter().flatten();
            tasks
                .any(|t| t.task_arn.as_deref() == Some(arn) && t.desired_status.as_deref() == Some("RUNNING"))
        };
        let surplus = self.tasks.values().filter(|t| t.desired == Desired::Running && !wanted(t.arn()));
        let stop_candidates: Vec<_> = surplus
            .map(|task| acs::TaskIdentifier {
                desired_status: Some("STOPPED".to_owned()),
                task_arn: Some(task.arn().to_owned()),
                task_cluster_arn: manifest.cluster_arn.clone(),
            })
            .collect();
        if !stop_candidates.is_empty() {
            self.answer(acs::TaskStopVerificationMessage {
                message_id: manifest.message_id.clone(),
                stop_candidates: Some(stop_candidates),
            });
        }
    }

    /// Works once, and only for the last manifest.
    fn stop_verified(&mut self, verified: &acs::TaskStopVerificationAck) {
        if verified.message_id.is_none() || self.manifest != verified.message_id {
            return;
        }
        self.manifest = None;
        for task in verified.stop_tasks.iter().flatten() {
            let Some(&key) = task.task_arn.as_ref().and_then(|arn| self.by_arn.get(arn)) else { continue };
            if let Some(task) = self.tasks.get_mut(&key) {
                task.stop(None);
            }
            self.touch(key);
        }
    }

    fn raise_timeline(&mut self, number: i64) {
        if number > self.timeline {
            self.timeline = number;
            self.effects.push(Effect::Save(Record::Timeline(number)));
        }
    }
}

fn blank(plan: TaskPlan, now: Timestamp) -> Task {
    Task {
        plan: Arc::new(plan),
        order: 0,
        desired: Desired::Running,
        known: Status::None,
        admitted: false,
        reason: None,
        containers: Vec::new(),
        accepted_at: now,
        pull_started_at: None,
        pull_stopped_at: None,
        execution_stopped_at: None,
        stopped_at: None,
        reported: Status::None,
        unreadable: false,
        passing: crate::task::PassingTask::default(),
    }
}
