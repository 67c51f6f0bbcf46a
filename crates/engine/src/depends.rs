//! Which container waits for which, on the way up and on the way down.
//!
//! Source: ecs-agent-protocol, "Dependencies".

use crate::effect::Health;
use crate::plan::{Condition, Dependency, TaskPlan};
use crate::task::{Status, Task};
use std::time::Duration;
use stdx::Timestamp;

/// Whether a container may go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// Not yet; `until` is the moment at which that becomes never.
    Waiting {
        until: Option<Timestamp>,
    },
    Never(String),
}

/// Whether all that the container depends on is as it must be.
pub(crate) fn readiness(task: &Task, index: usize, now: Timestamp) -> Readiness {
    let mut waiting = false;
    let mut until: Option<Timestamp> = None;
    for dependency in &task.plan.containers[index].dependencies {
        match one(task, dependency, now) {
            Readiness::Ready => {}
            Readiness::Waiting { until: this } => {
                waiting = true;
                until = until.into_iter().chain(this).min();
            }
            never @ Readiness::Never(_) => return never,
        }
    }
    if waiting { Readiness::Waiting { until } } else { Readiness::Ready }
}

fn one(task: &Task, dependency: &Dependency, now: Timestamp) -> Readiness {
    let name = &dependency.container;
    let Some(index) = task.plan.container(name) else {
        return Readiness::Never(format!("there is no container {name}"));
    };
    let (plan, other) = (&task.plan.containers[index], &task.containers[index]);
    let stopped = other.known == Status::Stopped;
    let condition = dependency.condition;
    let holds = match condition {
        Condition::Create => other.known >= Status::Created,
        Condition::Start => other.known >= Status::Running,
        Condition::Complete => stopped && other.exit.is_some(),
        Condition::Success => stopped && other.exit.is_some_and(|e| e.exit_code == 0),
        Condition::Healthy => !stopped && other.health == Health::Healthy,
    };
    if holds {
        return Readiness::Ready;
    }
    if stopped {
        let code = other.exit_code().map_or("no exit code".to_owned(), |c| format!("exit code {c}"));
        return Readiness::Never(format!(
            "container {name} stopped with {code} and cannot become {}",
            condition.name()
        ));
    }
    let limited = matches!(condition, Condition::Complete | Condition::Success | Condition::Healthy);
    let limit = plan.start_timeout_s.filter(|_| limited);
    let until = other.started_at.zip(limit).map(|(at, s)| at.after(Duration::from_secs(u64::from(s))));
    match until.filter(|until| *until <= now) {
        Some(_) => Readiness::Never(format!(
            "container {name} did not become {} within its start timeout of {}s",
            condition.name(),
            limit.unwrap_or_default()
        )),
        None => Readiness::Waiting { until },
    }
}

/// Whether everything that depends on the container has stopped, so that it may stop too.
pub(crate) fn may_stop(task: &Task, index: usize) -> bool {
    let name = &task.plan.containers[index].name;
    task.planned()
        .filter(|(plan, _)| plan.dependencies.iter().any(|d| d.container == *name))
        .all(|(_, container)| container.known == Status::Stopped)
}

/// Whether every container can start at all: names are known, there is no circle, health can be known.
pub(crate) fn resolvable(plan: &TaskPlan, health_checks: bool) -> bool {
    let known = |d: &Dependency| {
        plan.container(&d.container).is_some_and(|i| {
            d.condition != Condition::Healthy || (health_checks && plan.containers[i].has_health_check)
        })
    };
    if !plan.containers.iter().flat_map(|c| &c.dependencies).all(known) {
        return false;
    }
    // Containers are struck off once all they depend on are; in a circle nothing can be.
    let mut resolved = vec![false; plan.containers.len()];
    loop {
        let next = (0..resolved.len()).find(|&i| {
            let mut needs = plan.containers[i].dependencies.iter();
            !resolved[i] && needs.all(|d| plan.container(&d.container).is_some_and(|j| resolved[j]))
        });
        match next {
            Some(index) => resolved[index] = true,
            None => return resolved.into_iter().all(|r| r),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;
    use api::acs;

    fn plan(containers: &[(&str, &[(&str, acs::ContainerCondition)])]) -> TaskPlan {
        let container = |(name, needs): &(&str, &[(&str, acs::ContainerCondition)])| acs::Container {
            name: Some((*name).into()),
            depends_on: Some(
                needs
                    .iter()
                    .map(|(n, c)| acs::ContainerDependency {
                        container_name: Some((*n).into()),
                        condition: Some(*c),
                    })
                    .collect(),
            ),
            ..Default::default()
        };
        let containers = containers.iter().map(container).collect();
        parse::plan(&acs::Task { arn: Some("t".into()), containers: Some(containers), ..Default::default() })
            .unwrap()
    }

    #[test]
    fn circles_and_unknown_names_cannot_be_resolved() {
        use acs::ContainerCondition::{Healthy, Start, Success};
        assert!(resolvable(&plan(&[("a", &[("b", Start)]), ("b", &[("c", Success)]), ("c", &[])]), false));
        assert!(!resolvable(&plan(&[("a", &[("b", Start)]), ("b", &[("a", Start)])]), false));
        assert!(!resolvable(&plan(&[("a", &[("a", Start)])]), false));
        assert!(!resolvable(&plan(&[("a", &[("nobody", Start)])]), false));
        assert!(!resolvable(&plan(&[("a", &[("b", Healthy)]), ("b", &[])]), true), "b has no health check");
    }
}
