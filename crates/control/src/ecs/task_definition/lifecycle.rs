//! DeregisterTaskDefinition and DeleteTaskDefinitions.

use super::{Reference, is_active};
use crate::arn;
use crate::call::Ctx;
use crate::ecs::exception::{client, invalid};
use crate::state::ecs::{TaskDefinition, TaskDefinitionId};
use crate::tx::Tx;
use api::ecs::{self as model, Error, TaskDefinitionStatus};

/// The most task definitions in one DeleteTaskDefinitions (API_DeleteTaskDefinitions).
const DELETE_MAX: usize = 10;

pub(in crate::ecs) fn deregister(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::DeregisterTaskDefinitionRequest,
) -> Result<model::DeregisterTaskDefinitionResponse, Error> {
    let Reference::Revision(id) = Reference::parse(ctx, &request.task_definition)? else {
        return Err(client("Revision is missing."));
    };
    let definition = tx
        .get::<TaskDefinition>(&id)
        .ok_or_else(|| client("The specified task definition does not exist."))?;
    if !is_active(definition) {
        return Err(client("TaskDefinition is inactive"));
    }
    let now = ctx.now;
    let shown = edit(tx, &id, |definition| {
        definition.status = Some(TaskDefinitionStatus::Inactive);
        definition.deregistered_at = Some(now);
    });
    Ok(model::DeregisterTaskDefinitionResponse { task_definition: shown })
}

pub(in crate::ecs) fn delete(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::DeleteTaskDefinitionsRequest,
) -> Result<model::DeleteTaskDefinitionsResponse, Error> {
    match request.task_definitions.len() {
        0 => return Err(invalid("size of TaskDefinition references list must be greater than 0")),
        1..=DELETE_MAX => {}
        _ => {
            return Err(invalid(format!(
                "Size of TaskDefinition references list cannot exceed {DELETE_MAX}"
            )));
        }
    }
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for reference in &request.task_definitions {
        match delete_one(tx, ctx, reference) {
            Ok(definition) => deleted.push(definition),
            Err(failure) => failures.push(failure),
        }
    }
    Ok(model::DeleteTaskDefinitionsResponse { task_definitions: Some(deleted), failures: Some(failures) })
}

/// From INACTIVE to DELETE_IN_PROGRESS; the revision goes once nothing needs it any more.
fn delete_one(
    tx: &mut Tx<'_>,
    ctx: &Ctx<'_>,
    reference: &str,
) -> Result<model::TaskDefinition, model::Failure> {
    let failure = |arn: String, reason: &str| model::Failure {
        arn: Some(arn),
        reason: Some(reason.to_owned()),
        detail: None,
    };
    let Ok(Reference::Revision(id)) = Reference::parse(ctx, reference) else {
        return Err(failure(
            reference.to_owned(),
            "The specified task definition identifier is invalid. Specify a valid name or ARN and try again.",
        ));
    };
    let definition = tx.get::<TaskDefinition>(&id);
    let shown = definition.map(|d| d.definition.clone());
    match shown.as_ref().and_then(|definition| definition.status) {
        None => Err(failure(arn::task_definition(&id), "MISSING")),
        Some(TaskDefinitionStatus::Active) => Err(failure(
            arn::task_definition(&id),
            "The specified task definition is still in ACTIVE status. Please deregister the target and try again.",
        )),
        Some(TaskDefinitionStatus::DeleteInProgress) => Ok(shown.unwrap_or_default()),
        Some(TaskDefinitionStatus::Inactive) => {
            let now = ctx.now;
            let shown = edit(tx, &id, |definition| {
                definition.status = Some(TaskDefinitionStatus::DeleteInProgress);
                definition.delete_requested_at = Some(now);
            });
            Ok(shown.unwrap_or_default())
        }
    }
}

fn edit(
    tx: &mut Tx<'_>,
    id: &TaskDefinitionId,
    change: impl FnOnce(&mut model::TaskDefinition),
) -> Option<model::TaskDefinition> {
    tx.edit::<TaskDefinition>(id, |row| change(&mut row.definition));
    tx.get::<TaskDefinition>(id).map(|row| row.definition.clone())
}
