//! The TCS session: what containers use, how they feel, and whether the runtime works.
//!
//! Source: ecs-agent-protocol, "TCS websocket".

use crate::clock::now;
use crate::session::{AGENT_HASH, AGENT_VERSION, Agent};
use crate::stats::Samples;
use crate::websocket::{BackOff, End, Refusal, Socket, close, connect, read};
use api::channel::{SignedFrame, TcsMessage};
use api::tcs;
use engine::{Engine, Health, Status};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Uri};
use runtime::Runtime;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stdx::{Chain, Rng, Timestamp, id};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_tungstenite::tungstenite::Message;

const PUBLISH: Duration = Duration::from_secs(20);
const SAMPLE: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_FACTOR: u32 = 200;
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The model's bound of a frame.
const TASKS_MAX: usize = 10;

/// What outlives a connection.
struct Telemetry<R: ?Sized> {
    agent: Arc<Agent>,
    runtime: Arc<R>,
    samples: Samples,
    rng: Rng,
    /// Heartbeats of ACS that were answered with a statement.
    heartbeats_seen: u64,
    status: tcs::InstanceHealthcheckStatus,
    status_since: Timestamp,
}

/// Keeps a session open for ever; `inactive` drops it once.
pub(crate) async fn run<R: Runtime + ?Sized>(
    agent: Arc<Agent>,
    runtime: Arc<R>,
    mut inactive: mpsc::Receiver<()>,
) {
    let mut telemetry = Telemetry {
        agent,
        runtime,
        samples: Samples::default(),
        rng: Rng::new(crate::clock::seed()),
        heartbeats_seen: 0,
        status: tcs::InstanceHealthcheckStatus::Initializing,
        status_since: now(),
    };
    let mut back_off = BackOff::new(RETRY_FIRST, RETRY_FACTOR, RETRY_MAX);
    loop {
        let began = Instant::now();
        match telemetry.open().await {
            Ok((mut socket, url)) => {
                let end = tokio::select! {
                    end = telemetry.converse(&mut socket, &url, &mut back_off) => end,
                    _ = inactive.recv() => End::BackOff,
                };
                close(&mut socket).await;
                if began.elapsed() >= RETRY_MAX {
                    back_off.reset();
                }
                if end == End::AtOnce && began.elapsed() >= RETRY_FIRST {
                    continue;
                }
            }
            Err(error) => tracing::debug!(error = %Chain(&error), "cannot open the telemetry session"),
        }
        back_off.wait().await;
    }
}

impl<R: Runtime + ?Sized> Telemetry<R> {
    async fn open(&self) -> Result<(Socket, Uri), Refusal> {
        let agent = &self.agent;
        let instance = &agent.identity.container_instance_arn;
        let endpoints = agent.endpoints.get(&agent.config, &agent.client, instance).await?;
        let parameters = [
            ("agentHash", AGENT_HASH),
            ("agentVersion", AGENT_VERSION),
            ("cluster", &agent.config.cluster),
            ("containerInstance", instance),
            ("dockerVersion", &agent.runtime_version),
        ];
        connect(&agent.client, &endpoints.tcs, &parameters).await
    }

    async fn converse(&mut self, socket: &mut Socket, url: &Uri, back_off: &mut BackOff) -> End {
        let renewal = Instant::now() + back_off.life();
        let mut silence = Instant::now() + back_off.silence();
        let (mut publish, mut sample) = (interval(PUBLISH), interval(SAMPLE));
        publish.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = socket.next() => match read(received) {
                    Ok(Some(text)) => {
                        if TcsMessage::decode(&text).is_ok_and(|m| feeds_timer(&m)) {
                            silence = Instant::now() + back_off.silence();
                        }
                    }
                    Ok(None) => {}
                    Err(end) => return end,
                },
                _ = sample.tick() => self.sample().await,
                _ = publish.tick() => {
                    for message in self.messages().await {
                        let frame = self.signed(url, &message.encode());
                        if let Err(error) = socket.send(Message::text(frame)).await {
                            tracing::debug!(%error, "the telemetry session broke");
                            return End::AtOnce;
                        }
                    }
                }
                () = sleep_until(silence) => return End::BackOff,
                () = sleep_until(renewal) => return End::AtOnce,
            }
        }
    }

    async fn sample(&mut self) {
        let running = self.agent.engine.read(running_containers).await.unwrap_or_default();
        self.samples.retain(&running);
        for runtime_id in running {
            match self.runtime.stats(&runtime_id).await {
                Ok(stats) => self.samples.add(&runtime_id, now(), &stats),
                // It may just have ended.
                Err(error) => tracing::debug!(%error, runtime_id, "no statistics of a container"),
            }
        }
    }

    async fn messages(&mut self) -> Vec<TcsMessage> {
        let mut messages = Vec::new();
        let tasks = self.agent.engine.read(described).await.unwrap_or_default();
        messages.extend(self.metrics(&tasks));
        messages.extend(self.health(&tasks));
        messages.extend(self.instance_status().await);
        messages
    }

    fn id(&mut self) -> Option<String> {
        Some(id::uuid(&mut self.rng))
    }

    fn metrics(&mut self, tasks: &[Described]) -> Vec<TcsMessage> {
        let mut measured = Vec::new();
        for task in tasks {
            let metrics = task.containers.iter().filter_map(|c| {
                let set = self.samples.take(c.runtime_id.as_deref()?)?;
                Some(tcs::ContainerMetric { container_name: Some(c.name.clone()), ..set })
            });
            let container_metrics: Vec<_> = metrics.collect();
            if !container_metrics.is_empty() {
                measured.push(tcs::TaskMetric {
                    task_arn: Some(task.arn.clone()),
                    task_definition_family: Some(task.family.clone()),
                    task_definition_version: Some(task.version.clone()),
                    container_metrics: Some(container_metrics),
                    ..Default::default()
                });
            }
        }
        if measured.is_empty() {
            let is_idle = tasks.is_empty();
            return if is_idle { vec![self.metrics_message(None, true, true)] } else { Vec::new() };
        }
        let count = measured.len().div_ceil(TASKS_MAX);
        let frames: Vec<Vec<_>> = measured.chunks(TASKS_MAX).map(<[_]>::to_vec).collect();
        frames
            .into_iter()
            .enumerate()
            .map(|(n, tasks)| self.metrics_message(Some(tasks), false, n + 1 == count))
            .collect()
    }

    fn metrics_message(&mut self, tasks: Option<Vec<tcs::TaskMetric>>, idle: bool, fin: bool) -> TcsMessage {
        let metadata = tcs::MetricsMetadata {
            cluster: Some(self.agent.config.cluster.clone()),
            container_instance: Some(self.agent.identity.container_instance_arn.clone()),
            fin: Some(fin),
            idle: Some(idle),
            message_id: self.id(),
        };
        tcs::PublishMetricsRequest {
            metadata: Some(metadata),
            task_metrics: tasks,
            timestamp: Some(now()),
            ..Default::default()
        }
        .into()
    }

    fn health(&mut self, tasks: &[Described]) -> Vec<TcsMessage> {
        let checked = |task: &Described| {
            let containers: Vec<_> = task.containers.iter().filter_map(|c| c.health.clone()).collect();
            (!containers.is_empty()).then(|| tcs::TaskHealth {
                task_arn: Some(task.arn.clone()),
                task_definition_family: Some(task.family.clone()),
                task_definition_version: Some(task.version.clone()),
                containers: Some(containers),
                ..Default::default()
            })
        };
        let tasks: Vec<_> = tasks.iter().filter_map(checked).collect();
        let count = tasks.len().div_ceil(TASKS_MAX);
        let frames: Vec<Vec<_>> = tasks.chunks(TASKS_MAX).map(<[_]>::to_vec).collect();
        let message = |(n, tasks)| {
            let metadata = tcs::HealthMetadata {
                cluster: Some(self.agent.config.cluster.clone()),
                container_instance: Some(self.agent.identity.container_instance_arn.clone()),
                fin: Some(n + 1 == count),
                message_id: self.id(),
            };
            tcs::PublishHealthRequest { metadata: Some(metadata), tasks: Some(tasks), timestamp: Some(now()) }
                .into()
        };
        frames.into_iter().enumerate().map(message).collect()
    }

    /// One statement for each heartbeat of ACS.
    async fn instance_status(&mut self) -> Option<TcsMessage> {
        let heartbeats = self.agent.heartbeats.load(Ordering::Relaxed);
        if heartbeats == std::mem::replace(&mut self.heartbeats_seen, heartbeats) {
            return None;
        }
        let (status, reason) = match self.runtime.list().await {
            Ok(_) => (tcs::InstanceHealthcheckStatus::Ok, None),
            Err(error) => (tcs::InstanceHealthcheckStatus::Impaired, Some(error.to_string())),
        };
        if std::mem::replace(&mut self.status, status) != status {
            self.status_since = now();
        }
        let status = tcs::InstanceStatus {
            r#type: Some("ContainerRuntime".to_owned()),
            status: Some(status),
            status_reason: reason,
            last_updated: Some(now()),
            last_status_change: Some(self.status_since),
        };
        let metadata = tcs::InstanceStatusMetadata {
            cluster: Some(self.agent.config.cluster.clone()),
            container_instance: Some(self.agent.identity.container_instance_arn.clone()),
            request_id: self.id(),
        };
        let statuses = Some(vec![status]);
        Some(
            tcs::PublishInstanceStatusRequest { metadata: Some(metadata), statuses, timestamp: Some(now()) }
                .into(),
        )
    }

    /// Puts the signature in front: that of a GET of the session's URL with the text as body.
    fn signed(&self, url: &Uri, body: &str) -> String {
        let mut headers = HeaderMap::new();
        let host = url.authority().map(|a| a.as_str()).unwrap_or_default();
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(http::header::HOST, host);
        }
        let message = wire::sigv4::Message { method: "GET", uri: url, body: body.as_bytes() };
        wire::sigv4::sign_message(&self.agent.client.signer("ecs"), message, &mut headers, now());
        let names = [
            ("Authorization", "authorization"),
            ("Host", "host"),
            ("X-Amz-Date", "x-amz-date"),
            ("X-Amz-Security-Token", "x-amz-security-token"),
        ];
        let headers =
            names.iter().filter_map(|(shown, name)| Some((*shown, headers.get(*name)?.to_str().ok()?)));
        SignedFrame { headers: headers.collect(), body }.encode()
    }
}

fn feeds_timer(message: &TcsMessage) -> bool {
    matches!(
        message,
        TcsMessage::AckPublishHealth(_)
            | TcsMessage::AckPublishInstanceStatus(_)
            | TcsMessage::AckPublishMetric(_)
            | TcsMessage::HeartbeatMessage(_)
    )
}

/// A task that runs, as far as telemetry speaks of it.
struct Described {
    arn: String,
    family: String,
    version: String,
    containers: Vec<DescribedContainer>,
}

struct DescribedContainer {
    name: String,
    runtime_id: Option<String>,
    health: Option<tcs::ContainerHealth>,
}

fn running_containers(engine: &Engine) -> Vec<String> {
    let containers = engine.tasks().flat_map(|t| &t.containers).filter(|c| c.known == Status::Running);
    containers.filter_map(|c| c.runtime_id.clone()).collect()
}

fn described(engine: &Engine) -> Vec<Described> {
    let container = |(plan, container): (&engine::ContainerPlan, &engine::Container)| DescribedContainer {
        name: plan.name.clone(),
        runtime_id: container.runtime_id.clone(),
        health: plan.has_health_check.then(|| tcs::ContainerHealth {
            container_name: Some(plan.name.clone()),
            health_status: Some(match container.health {
                Health::Unknown => tcs::HealthStatus::Unknown,
                Health::Healthy => tcs::HealthStatus::Healthy,
                Health::Unhealthy => tcs::HealthStatus::Unhealthy,
            }),
            status_since: container.started_at,
            status_message: None,
        }),
    };
    engine
        .tasks()
        .filter(|t| t.known == Status::Running)
        .map(|task| Described {
            arn: task.arn().to_owned(),
            family: task.plan.family.clone(),
            version: task.plan.version.clone(),
            containers: task.planned().map(container).collect(),
        })
        .collect()
}
