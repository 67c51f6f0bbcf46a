//! A task as an agent is told of it.
//!
//! Source: ecs-agent, `acs/model` and `agent/api/task`; Docker's settings travel as two JSON documents in strings.

mod container;
mod docker;
mod volume;

use crate::arn;
use crate::core::Settings;
use crate::state::State;
use crate::state::ecs::{DesiredStatus, LaunchType, RoleCredentials, Task};
use api::{acs, ecs as model};

/// The task as part of a payload. One that shall stop needs no more than its name.
pub(super) fn task(state: &State, settings: &Settings, task: &Task) -> acs::Task {
    let mut sent = acs::Task {
        arn: Some(arn::task(&task.cluster, task.id)),
        desired_status: Some(task.desired_status.as_str().to_owned()),
        task_cluster_arn: Some(arn::cluster(&task.cluster)),
        family: Some(task.definition.family.clone()),
        version: Some(task.definition.revision.to_string()),
        ..acs::Task::default()
    };
    if task.desired_status == DesiredStatus::Stopped {
        return sent;
    }
    let Some(row) = state.task_definitions.get(&task.definition) else { return sent };
    let definition = &row.definition;
    let source = Source { settings, task, definition };
    let limit = |over: &Option<String>, own: &Option<String>| {
        over.as_ref().or(own.as_ref()).and_then(|text| text.trim().parse::<i32>().ok())
    };
    // The agent counts in vCPUs here.
    sent.cpu = limit(&task.overrides.cpu, &definition.cpu).map(|units| f64::from(units) / 1024.0);
    sent.memory = limit(&task.overrides.memory, &definition.memory);
    sent.network_mode = Some(source.network_mode().as_str().to_owned());
    sent.pid_mode = definition.pid_mode.map(|mode| mode.as_str().to_owned());
    sent.ipc_mode = definition.ipc_mode.map(|mode| mode.as_str().to_owned());
    sent.launch_type = Some(source.launch_type().to_owned());
    sent.group = Some(task.group.clone());
    sent.enable_fault_injection = definition.enable_fault_injection;
    let credentials_of = |c: &Option<RoleCredentials>| c.as_ref().and_then(|c| credentials(state, c));
    sent.role_credentials = credentials_of(&task.role_credentials);
    sent.execution_role_credentials = credentials_of(&task.execution_role_credentials);
    sent.volumes = Some(definition.volumes.iter().flatten().map(volume::volume).collect());
    let containers = definition.container_definitions.iter().flatten();
    sent.containers = Some(containers.map(|c| container::container(&source, c)).collect());
    sent
}

/// A role's credentials as the agent takes them.
pub(super) fn credentials(state: &State, credentials: &RoleCredentials) -> Option<acs::IAMRoleCredentials> {
    let key = state.access_keys.get(&credentials.access_key)?;
    Some(acs::IAMRoleCredentials {
        credentials_id: Some(credentials.credentials_id.clone()),
        role_arn: Some(credentials.role_arn.clone()),
        access_key_id: Some(key.id.clone()),
        secret_access_key: Some(key.secret.clone()),
        session_token: key.session_token.clone(),
        expiration: Some(credentials.expires_at.iso8601()),
        credential_scope: None,
    })
}

/// Everything that a container's part is made of.
struct Source<'a> {
    settings: &'a Settings,
    task: &'a Task,
    definition: &'a model::TaskDefinition,
}

impl Source<'_> {
    /// Tasks on EC2 and external instances have a bridge where nothing is said (API_RegisterTaskDefinition).
    fn network_mode(&self) -> model::NetworkMode {
        self.definition.network_mode.unwrap_or(model::NetworkMode::Bridge)
    }

    fn launch_type(&self) -> &'static str {
        match self.task.launch_type {
            LaunchType::Ec2 => "EC2",
            LaunchType::External => "EXTERNAL",
        }
    }

    fn overrides(&self, container: &model::ContainerDefinition) -> Option<&model::ContainerOverride> {
        let mut all = self.task.overrides.container_overrides.iter().flatten();
        all.rfind(|o| o.name == container.name)
    }
}
