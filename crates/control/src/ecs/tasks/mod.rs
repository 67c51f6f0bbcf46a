//! Tasks: the operations that start, stop and show them, what agents report of them, and the rules of their life.

mod describe;
mod launch;
pub(crate) mod lifecycle;
mod list;
mod outcome;
mod overrides;
mod protection;
mod run_task;
mod start_task;
mod stop_task;
mod submit;
mod view;

pub(super) use describe::describe;
pub(super) use list::list;
pub(super) use protection::{get_protection, update_protection};
pub(super) use run_task::run_task;
pub(super) use start_task::start_task;
pub(super) use stop_task::stop_task;
pub(super) use submit::{submit_attachments, submit_container, submit_task};

use super::exception::invalid;
use crate::arn::{self, Arn};
use crate::call::Ctx;
use crate::state::State;
use crate::state::ecs::{ClusterId, Task, TaskId};
use api::ecs::Error;
use std::sync::Arc;

/// A task as a caller names it.
struct Named {
    /// `None` where the text has a right length, but no task can have that id: the form of before 2018.
    id: Option<TaskId>,
    arn: String,
}

impl Named {
    /// Reads an id or an ARN in either form; one of another cluster is refused.
    fn parse(ctx: &Ctx<'_>, cluster: &ClusterId, text: &str) -> Result<Self, Error> {
        let id = crate::ecs::reference::own_id(ctx, cluster, "task", text)?;
        if !matches!(id.len(), 32 | 36) {
            return Err(invalid("taskId length should be one of [32,36]"));
        }
        let arn = if Arn::parse(text).is_some() {
            text.to_owned()
        } else {
            arn::ecs(cluster.scope, &format!("task/{}/{id}", cluster.name))
        };
        Ok(Self { id: TaskId::parse(id), arn })
    }

    fn find<'a>(&self, state: &'a State, cluster: &ClusterId) -> Option<&'a Arc<Task>> {
        state.tasks.get(self.id.as_ref()?).filter(|task| task.cluster == *cluster)
    }
}

fn missing(arn: String) -> api::ecs::Failure {
    api::ecs::Failure { arn: Some(arn), reason: Some("MISSING".to_owned()), detail: None }
}
