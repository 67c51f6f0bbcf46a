//! The order in which containers start: `dependsOn`, links and `volumesFrom` name other containers, in no circle.

use super::container;
use crate::ecs::exception::client;
use api::ecs::{ContainerCondition, ContainerDefinition, ContainerDependency, Error};
use std::collections::BTreeMap;

pub(super) fn check(containers: &[ContainerDefinition]) -> Result<(), Error> {
    let by_name: BTreeMap<&str, &ContainerDefinition> =
        containers.iter().map(|c| (container::name(c), c)).collect();
    for one in containers {
        for dependency in one.depends_on.iter().flatten() {
            check_dependency(one, dependency, &by_name)?;
        }
        for volumes in one.volumes_from.iter().flatten() {
            let source = volumes.source_container.as_deref().unwrap_or_default();
            if !by_name.contains_key(source) || source == container::name(one) {
                return Err(client(format!(
                    "Invalid 'volumesFrom' setting for container '{}'. '{source}' is not another container of the task \
                     definition.",
                    container::name(one)
                )));
            }
        }
    }
    let mut colours = BTreeMap::new();
    for one in containers {
        visit(container::name(one), &by_name, &mut colours)?;
    }
    Ok(())
}

/// What each condition asks of its container (API_ContainerDependency).
fn check_dependency(
    one: &ContainerDefinition,
    dependency: &ContainerDependency,
    by_name: &BTreeMap<&str, &ContainerDefinition>,
) -> Result<(), Error> {
    let Some(target) = by_name.get(dependency.container_name.as_str()) else {
        return Err(client(format!(
            "Invalid 'dependsOn' setting for container '{}'. '{}' is not a container of the task definition.",
            container::name(one),
            dependency.container_name
        )));
    };
    match dependency.condition {
        ContainerCondition::Start => Ok(()),
        ContainerCondition::Complete | ContainerCondition::Success => {
            if target.essential != Some(false) {
                return Err(client(
                    "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
                ));
            }
            Ok(())
        }
        ContainerCondition::Healthy => {
            if target.health_check.is_none() {
                return Err(client(format!(
                    "A dependency container with HEALTHY condition must have a health check: container '{}' has none.",
                    dependency.container_name
                )));
            }
            Ok(())
        }
    }
}

/// Whether a container is being looked at, or has been and leads into no circle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    Open,
    Done,
}

/// Follows everything that a container waits for. At most ten containers, so the depth is bounded.
fn visit<'a>(
    name: &'a str,
    by_name: &BTreeMap<&'a str, &'a ContainerDefinition>,
    colours: &mut BTreeMap<&'a str, Colour>,
) -> Result<(), Error> {
    match colours.insert(name, Colour::Open) {
        Some(Colour::Open) => {
            return Err(client(format!(
                "The containers of a task definition cannot depend on each other in a cycle: container '{name}'."
            )));
        }
        Some(Colour::Done) => {
            colours.insert(name, Colour::Done);
            return Ok(());
        }
        None => {}
    }
    if let Some(one) = by_name.get(name) {
        let waits_for = one.depends_on.iter().flatten().map(|d| d.container_name.as_str());
        let links = one.links.iter().flatten().filter_map(|link| link.split(':').next());
        let volumes = one.volumes_from.iter().flatten().filter_map(|v| v.source_container.as_deref());
        for next in waits_for.chain(links).chain(volumes) {
            visit(next, by_name, colours)?;
        }
    }
    colours.insert(name, Colour::Done);
    Ok(())
}
