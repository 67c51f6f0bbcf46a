//! What RunTask and StartTask have in common: everything odd about a request ends here, and a task begins.

use super::overrides;
use crate::call::Ctx;
use crate::ecs::exception::invalid;
use crate::ecs::{clusters, tags, task_definition};
use crate::placement::Spec;
use crate::session;
use crate::state::State;
use crate::state::ecs::{
    Attribute, ClusterId, ContainerStatus, Demand, DesiredStatus, InstanceId, LaunchType, RoleCredentials,
    Tag, Task, TaskContainer, TaskDefinition, TaskId, TaskStatus,
};
use crate::tx::Tx;
use api::ecs::{self as model, Error, NetworkMode};
use std::sync::Arc;

/// The most characters of `startedBy` (API_RunTask).
const STARTED_BY_MAX: usize = 128;

/// What both requests may say of their tasks.
#[derive(Default)]
pub(super) struct Wish {
    pub(super) cluster: Option<String>,
    pub(super) task_definition: String,
    pub(super) launch_type: Option<model::LaunchType>,
    pub(super) group: Option<String>,
    pub(super) started_by: Option<String>,
    pub(super) reference_id: Option<String>,
    pub(super) overrides: Option<model::TaskOverride>,
    pub(super) network_configuration: Option<model::NetworkConfiguration>,
    pub(super) tags: Option<Vec<model::Tag>>,
    pub(super) propagate_tags: Option<model::PropagateTags>,
    pub(super) managed_tags: Option<bool>,
    pub(super) execute_command: Option<bool>,
    pub(super) has_volumes: bool,
}

/// A checked wish: any number of the same task.
pub(super) struct Launch {
    pub(super) cluster: ClusterId,
    definition: Arc<TaskDefinition>,
    launch_type: LaunchType,
    group: String,
    started_by: Option<String>,
    reference_id: Option<String>,
    overrides: model::TaskOverride,
    demand: Demand,
    requires_attributes: Vec<Attribute>,
    tags: Vec<Tag>,
    enable_execute_command: bool,
}

impl Launch {
    pub(super) fn prepare(state: &State, ctx: &Ctx<'_>, wish: Wish) -> Result<Self, Error> {
        let cluster = clusters::active(state, ctx, wish.cluster.as_deref())?.id.clone();
        let definition = task_definition::resolve(state, ctx, &wish.task_definition)?.clone();
        let launch_type = launch_type(&definition.definition, wish.launch_type)?;
        check_network(&definition.definition, wish.network_configuration.as_ref())?;
        if definition.definition.placement_constraints.as_ref().is_some_and(|c| !c.is_empty()) {
            return Err(unsupported("Placement constraints of type memberOf are"));
        }
        if wish.has_volumes {
            return Err(unsupported("Volumes that are configured at launch are"));
        }
        check_started_by(wish.started_by.as_deref())?;
        let tags = all_tags(&cluster, &definition, &wish)?;
        let overrides = overrides::check(&definition, wish.overrides)?;
        let demand = overrides::demand(&definition.definition, &overrides);
        Ok(Self {
            requires_attributes: required(&definition.definition, launch_type),
            group: wish.group.unwrap_or_else(|| format!("family:{}", definition.id.family)),
            started_by: wish.started_by,
            reference_id: wish.reference_id,
            enable_execute_command: wish.execute_command.unwrap_or(false),
            cluster,
            definition,
            launch_type,
            overrides,
            demand,
            tags,
        })
    }

    /// What placement must know.
    pub(super) fn spec(&self) -> Spec<'_> {
        Spec {
            cluster: &self.cluster,
            demand: &self.demand,
            requires_attributes: &self.requires_attributes,
            distinct_group: None,
        }
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Makes a task on the instance; it holds its part of it from now on.
    pub(super) fn start(&self, tx: &mut Tx<'_>, ctx: &mut Ctx<'_>, instance: InstanceId) -> Arc<Task> {
        let id = TaskId(ctx.rng.next_u128());
        let definition = &self.definition.definition;
        let role = self.overrides.task_role_arn.as_ref().or(definition.task_role_arn.as_ref());
        let role_credentials = self.credentials(tx, ctx, id, role);
        let role = self.overrides.execution_role_arn.as_ref().or(definition.execution_role_arn.as_ref());
        let execution_role_credentials = self.credentials(tx, ctx, id, role);
        let containers = definition.container_definitions.iter().flatten().map(|d| TaskContainer {
            name: d.name.clone().unwrap_or_default(),
            id: stdx::id::uuid(&mut ctx.rng),
            status: ContainerStatus::Pending,
            ..TaskContainer::default()
        });
        let connectivity_at = tx.state().sessions.is_connected(instance).then_some(ctx.now);
        let task = Task {
            id,
            sequence: tx.next_sequence(),
            cluster: self.cluster.clone(),
            definition: self.definition.id.clone(),
            instance: Some(instance),
            last_status: TaskStatus::Pending,
            desired_status: DesiredStatus::Running,
            launch_type: self.launch_type,
            group: self.group.clone(),
            started_by: self.started_by.clone(),
            overrides: self.overrides.clone(),
            demand: self.demand.clone(),
            containers: containers.collect(),
            tags: self.tags.clone(),
            enable_execute_command: self.enable_execute_command,
            reference_id: self.reference_id.clone(),
            role_credentials,
            execution_role_credentials,
            version: 1,
            created_at: ctx.now,
            connectivity_at,
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: None,
            stopping_at: None,
            execution_stopped_at: None,
            stopped_at: None,
            stop_code: None,
            stopped_reason: None,
            forget_at: None,
        };
        tx.put(task)
    }

    fn credentials(
        &self,
        tx: &mut Tx<'_>,
        ctx: &mut Ctx<'_>,
        task: TaskId,
        role: Option<&String>,
    ) -> Option<RoleCredentials> {
        let role = role.filter(|role| !role.is_empty())?;
        Some(session::mint(tx, &mut ctx.env(), (self.cluster.scope, task), role, None))
    }
}

/// The error for what this version does not have.
pub(super) fn unsupported(what: &str) -> Error {
    model::UnsupportedFeatureException::new(format!("{what} not available in this version of Wharf.")).into()
}

fn launch_type(
    definition: &model::TaskDefinition,
    wanted: Option<model::LaunchType>,
) -> Result<LaunchType, Error> {
    use model::{Compatibility, LaunchType as Wanted};
    let wanted = wanted.unwrap_or(Wanted::Ec2);
    let (compatibility, launch_type) = match wanted {
        Wanted::Ec2 => (Compatibility::Ec2, Some(LaunchType::Ec2)),
        Wanted::External => (Compatibility::External, Some(LaunchType::External)),
        Wanted::Fargate => (Compatibility::Fargate, None),
        Wanted::ManagedInstances => (Compatibility::ManagedInstances, None),
    };
    let is_compatible = definition.compatibilities.as_ref().is_none_or(|all| all.contains(&compatibility));
    if !is_compatible {
        return Err(invalid(format!("Task definition does not support launch_type {wanted}.")));
    }
    let text =
        format!("The launch type {wanted} is not available in this version of Wharf. Use EC2 or EXTERNAL.");
    launch_type.ok_or_else(|| model::UnsupportedFeatureException::new(text).into())
}

/// What an instance must have: the definition's attributes, and for external tasks that it is external.
///
/// A task of launch type EC2 may run on an external instance too: here every machine is someone's own.
fn required(definition: &model::TaskDefinition, launch_type: LaunchType) -> Vec<Attribute> {
    let own = definition.requires_attributes.iter().flatten();
    let mut required: Vec<Attribute> =
        own.map(|a| Attribute { name: a.name.clone(), value: a.value.clone() }).collect();
    if launch_type == LaunchType::External {
        required.push(Attribute { name: "ecs.capability.external".to_owned(), value: None });
    }
    required
}

fn check_network(
    definition: &model::TaskDefinition,
    configuration: Option<&model::NetworkConfiguration>,
) -> Result<(), Error> {
    let vpc = configuration.and_then(|c| c.awsvpc_configuration.as_ref());
    if definition.network_mode != Some(NetworkMode::Awsvpc) {
        return if configuration.is_none() {
            Ok(())
        } else {
            let text =
                "Network Configuration is not valid for the given networkMode of this task definition.";
            Err(invalid(text))
        };
    }
    let Some(vpc) = vpc else {
        let text = "Network Configuration must be provided when networkMode 'awsvpc' is specified.";
        return Err(invalid(text));
    };
    if vpc.subnets.is_empty() {
        return Err(invalid("subnets can not be empty."));
    }
    if vpc.assign_public_ip == Some(model::AssignPublicIp::Enabled) {
        return Err(invalid("Assign public IP is not supported for this launch type."));
    }
    Err(unsupported("The network mode awsvpc is"))
}

fn check_started_by(started_by: Option<&str>) -> Result<(), Error> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
    match started_by {
        Some(text) if text.len() > STARTED_BY_MAX || !text.chars().all(is_allowed) => Err(invalid(format!(
            "startedBy must be up to {STARTED_BY_MAX} letters, numbers, hyphens, underscores and slashes."
        ))),
        _ => Ok(()),
    }
}

/// Explicit tags win over those that the definition propagates; ECS's own come on top.
fn all_tags(cluster: &ClusterId, definition: &TaskDefinition, wish: &Wish) -> Result<Vec<Tag>, Error> {
    let mut tags = tags::parse(wish.tags.clone())?;
    match wish.propagate_tags {
        Some(model::PropagateTags::TaskDefinition) => {
            let explicit = tags.clone();
            let is_new = |tag: &&Tag| !explicit.iter().any(|t| t.key == tag.key);
            tags.extend(definition.tags.iter().filter(is_new).cloned());
        }
        Some(model::PropagateTags::Service) => {
            return Err(invalid(
                "Tags can only be propagated from the task definition to a standalone task.",
            ));
        }
        Some(model::PropagateTags::None) | None => {}
    }
    if wish.managed_tags == Some(true) {
        tags.push(Tag { key: "aws:ecs:clusterName".to_owned(), value: cluster.name.clone() });
    }
    Ok(tags)
}
