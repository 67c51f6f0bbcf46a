//! Task definitions: RegisterTaskDefinition and its rules, and finding a revision by what a caller wrote.

mod container;
mod derive;
mod fargate;
mod lifecycle;
mod list;
mod logging;
mod network;
mod normal;
mod order;
mod register;
pub(super) mod units;
mod validate;
mod volumes;

pub(super) use lifecycle::{delete, deregister};
pub(super) use list::{describe, list, list_families};
pub(super) use register::register;

use super::exception::client;
use crate::arn::Arn;
use crate::call::Ctx;
use crate::state::State;
use crate::state::ecs::{TaskDefinition, TaskDefinitionId};
use api::ecs::{Error, TaskDefinitionStatus};
use std::sync::Arc;

/// What `taskDefinition` members say: a family, or one of its revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reference {
    /// The newest ACTIVE revision of the family.
    Latest(String),
    Revision(TaskDefinitionId),
}

impl Reference {
    /// Reads `family`, `family:revision` or the ARN of either.
    fn parse(ctx: &Ctx<'_>, text: &str) -> Result<Self, Error> {
        let name = match Arn::parse(text) {
            None => text,
            Some(arn) => arn
                .resource
                .strip_prefix("task-definition/")
                .filter(|_| arn.service == "ecs" && arn.is_in(ctx.scope))
                .ok_or_else(|| {
                    client(format!(
                        "The specified task definition ARN '{text}' is of another account or Region."
                    ))
                })?,
        };
        let Some((family, revision)) = name.split_once(':') else { return Ok(Self::Latest(name.to_owned())) };
        let revision: u32 =
            revision.parse().map_err(|_| client(format!("Invalid revision number. Number: {revision}")))?;
        Ok(Self::Revision(TaskDefinitionId { scope: ctx.scope, family: family.to_owned(), revision }))
    }

    fn find<'a>(&self, state: &'a State, ctx: &Ctx<'_>) -> Option<&'a Arc<TaskDefinition>> {
        match self {
            Self::Revision(id) => state.task_definitions.get(id),
            Self::Latest(family) => revisions(state, ctx, family).rev().find(|d| is_active(d)),
        }
    }
}

/// The revisions of a family, the oldest first.
fn revisions<'a>(
    state: &'a State,
    ctx: &Ctx<'_>,
    family: &str,
) -> impl DoubleEndedIterator<Item = &'a Arc<TaskDefinition>> {
    let id = |revision| TaskDefinitionId { scope: ctx.scope, family: family.to_owned(), revision };
    state.task_definitions.range(id(0)..=id(u32::MAX))
}

fn is_active(definition: &TaskDefinition) -> bool {
    definition.definition.status == Some(TaskDefinitionStatus::Active)
}

/// The ACTIVE task definition that a new task is to be made of.
pub(super) fn resolve<'a>(
    state: &'a State,
    ctx: &Ctx<'_>,
    reference: &str,
) -> Result<&'a Arc<TaskDefinition>, Error> {
    let definition = Reference::parse(ctx, reference)?
        .find(state, ctx)
        .ok_or_else(|| client("TaskDefinition not found."))?;
    if is_active(definition) { Ok(definition) } else { Err(client("TaskDefinition is inactive")) }
}
