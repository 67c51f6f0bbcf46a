//! RegisterTaskDefinition.

use super::{derive, normal, validate};
use crate::arn;
use crate::call::Ctx;
use crate::ecs::exception::client;
use crate::ecs::tags;
use crate::state::ecs::{Family, FamilyId, TaskDefinition, TaskDefinitionId};
use crate::tx::Tx;
use api::ecs::{self as model, Error, TaskDefinitionStatus};

/// The most bytes of a task definition as JSON (ecs service quotas, "Task definition size limit").
const SIZE_MAX: usize = 64 * 1024;

pub(in crate::ecs) fn register(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    mut request: model::RegisterTaskDefinitionRequest,
) -> Result<model::RegisterTaskDefinitionResponse, Error> {
    if request.tags.as_ref().is_some_and(Vec::is_empty) {
        return Err(client("Tags can not be empty."));
    }
    let tags = tags::parse(request.tags.take())?;
    let size = wire::json::to_vec(&request).len();
    if size > SIZE_MAX {
        return Err(client(format!("Actual length: '{size}'. Max allowed length is '{SIZE_MAX}' bytes.")));
    }
    normal::normalise(&mut request)?;
    validate::check(ctx, &request)?;
    let id = next_revision(tx, ctx, &request.family);
    let sequence = tx.next_sequence();
    let definition = definition(ctx, &id, request);
    let row = tx.put(TaskDefinition { id, sequence, definition, tags });
    Ok(model::RegisterTaskDefinitionResponse {
        tags: Some(tags::view(&row.tags)).filter(|tags| !tags.is_empty()),
        task_definition: Some(row.definition.clone()),
    })
}

/// The number behind the highest ever used in the family, even if that revision is long gone.
fn next_revision(tx: &mut Tx<'_>, ctx: &Ctx<'_>, family: &str) -> TaskDefinitionId {
    let id = FamilyId { scope: ctx.scope, name: family.to_owned() };
    let revision = tx.get::<Family>(&id).map_or(1, |family| family.revision + 1);
    tx.put(Family { id, revision });
    TaskDefinitionId { scope: ctx.scope, family: family.to_owned(), revision }
}

fn definition(
    ctx: &Ctx<'_>,
    id: &TaskDefinitionId,
    request: model::RegisterTaskDefinitionRequest,
) -> model::TaskDefinition {
    let requires_attributes = derive::requires_attributes(ctx.settings, &request);
    let compatibilities = derive::compatibilities(ctx, &request);
    model::TaskDefinition {
        task_definition_arn: Some(arn::task_definition(id)),
        family: Some(id.family.clone()),
        revision: Some(i32::try_from(id.revision).unwrap_or(i32::MAX)),
        status: Some(TaskDefinitionStatus::Active),
        container_definitions: Some(request.container_definitions),
        task_role_arn: request.task_role_arn,
        execution_role_arn: request.execution_role_arn,
        network_mode: request.network_mode,
        volumes: request.volumes,
        placement_constraints: request.placement_constraints,
        compatibilities: Some(compatibilities),
        requires_compatibilities: request.requires_compatibilities,
        requires_attributes: Some(requires_attributes),
        cpu: request.cpu,
        memory: request.memory,
        inference_accelerators: request.inference_accelerators,
        pid_mode: request.pid_mode,
        ipc_mode: request.ipc_mode,
        proxy_configuration: request.proxy_configuration,
        ephemeral_storage: request.ephemeral_storage,
        runtime_platform: request.runtime_platform,
        enable_fault_injection: request.enable_fault_injection,
        trusted_execution_configuration: request.trusted_execution_configuration,
        registered_at: Some(ctx.now),
        registered_by: Some(ctx.principal.arn.clone()),
        ..Default::default()
    }
}
