//! ARNs: made on the way out, parsed on the way in.

use crate::state::Scope;
use crate::state::ecs::{ClusterId, InstanceId, TaskDefinitionId, TaskId};

/// `arn:aws:ecs:REGION:ACCOUNT:RESOURCE`.
pub fn ecs(scope: Scope, resource: &str) -> String {
    format!("arn:aws:ecs:{}:{}:{resource}", scope.region, scope.account)
}

pub fn cluster(id: &ClusterId) -> String {
    ecs(id.scope, &format!("cluster/{}", id.name))
}

pub fn task_definition(id: &TaskDefinitionId) -> String {
    ecs(id.scope, &format!("task-definition/{}:{}", id.family, id.revision))
}

pub fn container_instance(cluster: &ClusterId, id: InstanceId) -> String {
    ecs(cluster.scope, &format!("container-instance/{}/{id}", cluster.name))
}

pub fn task(cluster: &ClusterId, id: TaskId) -> String {
    ecs(cluster.scope, &format!("task/{}/{id}", cluster.name))
}

pub fn container(cluster: &ClusterId, task: TaskId, id: &str) -> String {
    ecs(cluster.scope, &format!("container/{}/{task}/{id}", cluster.name))
}

/// The parts of any ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arn<'a> {
    pub partition: &'a str,
    pub service: &'a str,
    pub region: &'a str,
    pub account: &'a str,
    /// Everything after the fifth colon.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        if parts.next()? != "arn" {
            return None;
        }
        Some(Self {
            partition: parts.next()?,
            service: parts.next()?,
            region: parts.next()?,
            account: parts.next()?,
            resource: parts.next()?,
        })
    }

    /// Whether the ARN lies in the scope.
    pub fn is_in(&self, scope: Scope) -> bool {
        self.region == scope.region.as_str() && self.account == scope.account.to_string()
    }
}

/// What the resource part of an ECS ARN names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    Cluster(ClusterId),
    TaskDefinition(TaskDefinitionId),
    ContainerInstance(ClusterId, InstanceId),
    Task(ClusterId, TaskId),
    /// A task, container instance or service in the form from before 2018, without its cluster.
    ShortForm,
    /// A kind of resource without a type of its own here: its name.
    Other(String),
}

impl Resource {
    /// Reads the part behind the account; `None` if it is not of the form of its kind.
    pub fn parse(scope: Scope, resource: &str) -> Option<Self> {
        let (kind, rest) = resource.split_once('/')?;
        let nested = || {
            let (cluster, id) = rest.split_once('/')?;
            Some((ClusterId { scope, name: cluster.to_owned() }, id))
        };
        match kind {
            "cluster" => Some(Self::Cluster(ClusterId { scope, name: rest.to_owned() })),
            "task-definition" => {
                let (family, revision) = rest.split_once(':')?;
                let revision = revision.parse().ok()?;
                Some(Self::TaskDefinition(TaskDefinitionId { scope, family: family.to_owned(), revision }))
            }
            "task" | "container-instance" | "service" if !rest.contains('/') => Some(Self::ShortForm),
            "task" => nested().and_then(|(cluster, id)| Some(Self::Task(cluster, TaskId::parse(id)?))),
            "container-instance" => nested()
                .and_then(|(cluster, id)| Some(Self::ContainerInstance(cluster, InstanceId::parse(id)?))),
            _ => Some(Self::Other(kind.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let arn = Arn::parse("arn:aws:ecs:us-east-1:123456789012:task-definition/web:3").expect("an ARN");
        assert_eq!((arn.service, arn.resource), ("ecs", "task-definition/web:3"));
        assert_eq!(Arn::parse("web:3"), None);
    }
}
