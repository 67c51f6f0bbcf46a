//! DescribeTaskDefinition, ListTaskDefinitions, ListTaskDefinitionFamilies.

use super::{Reference, revisions};
use crate::arn;
use crate::call::Ctx;
use crate::ecs::exception::{client, invalid_token, page_size};
use crate::ecs::tags;
use crate::page;
use crate::state::State;
use crate::state::ecs::{Family, FamilyId, TaskDefinition, TaskDefinitionId};
use api::ecs::{
    self as model, Error, SortOrder, TaskDefinitionFamilyStatus, TaskDefinitionField, TaskDefinitionStatus,
};
use std::sync::Arc;

const PAGE_MAX: usize = 100;

pub(in crate::ecs) fn describe(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::DescribeTaskDefinitionRequest,
) -> Result<model::DescribeTaskDefinitionResponse, Error> {
    let definition = Reference::parse(ctx, &request.task_definition)?
        .find(state, ctx)
        .ok_or_else(|| client("Unable to describe task definition."))?;
    let wants_tags = request.include.as_ref().is_some_and(|parts| parts.contains(&TaskDefinitionField::Tags));
    Ok(model::DescribeTaskDefinitionResponse {
        task_definition: Some(definition.definition.clone()),
        tags: wants_tags.then(|| tags::view(&definition.tags)),
    })
}

/// In order of family, then of number. Begins where the token says, so that a page costs as much as it shows.
pub(in crate::ecs) fn list(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListTaskDefinitionsRequest,
) -> Result<model::ListTaskDefinitionsResponse, Error> {
    let limit = page_size(request.max_results, PAGE_MAX)?;
    let status = request.status.unwrap_or(TaskDefinitionStatus::Active);
    let is_descending = request.sort == Some(SortOrder::Desc);
    let filters = format!("{:?}", (&request.family_prefix, status, is_descending, "ListTaskDefinitions"));
    let token = request.next_token.as_deref();
    let at = page::position(token, &filters).map_err(invalid_token)?.and_then(|key| unkey(ctx, &key));

    let id =
        |family: &str, revision| TaskDefinitionId { scope: ctx.scope, family: family.to_owned(), revision };
    let family = request.family_prefix.as_deref();
    let mut first = id(family.unwrap_or_default(), 0);
    // No name of a family holds a character beyond ASCII.
    let mut last = id(family.unwrap_or("\u{7f}"), u32::MAX);
    if let Some(at) = at {
        if is_descending { last = last.min(at) } else { first = first.max(at) }
    }
    if first > last {
        return Ok(model::ListTaskDefinitionsResponse {
            task_definition_arns: Some(Vec::new()),
            next_token: None,
        });
    }
    let wanted = |d: &&Arc<TaskDefinition>| d.definition.status == Some(status);
    let found = state.task_definitions.range(first..=last);
    let key = |d: &&Arc<TaskDefinition>| key(&d.id);
    let page = if is_descending {
        page::page_descending(found.rev().filter(wanted), key, limit, &filters, token)
    } else {
        page::page(found.filter(wanted), key, limit, &filters, token)
    }
    .map_err(invalid_token)?;
    Ok(model::ListTaskDefinitionsResponse {
        task_definition_arns: Some(page.items.iter().map(|d| arn::task_definition(&d.id)).collect()),
        next_token: page.next_token,
    })
}

/// A revision as text in the order of ids: the space sorts before every character of a name.
fn key(id: &TaskDefinitionId) -> String {
    format!("{} {:010}", id.family, id.revision)
}

fn unkey(ctx: &Ctx<'_>, key: &str) -> Option<TaskDefinitionId> {
    let (family, revision) = key.split_once(' ')?;
    Some(TaskDefinitionId { scope: ctx.scope, family: family.to_owned(), revision: revision.parse().ok()? })
}

pub(in crate::ecs) fn list_families(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListTaskDefinitionFamiliesRequest,
) -> Result<model::ListTaskDefinitionFamiliesResponse, Error> {
    let limit = page_size(request.max_results, PAGE_MAX)?;
    let status = request.status.unwrap_or(TaskDefinitionFamilyStatus::All);
    let prefix = request.family_prefix.as_deref().unwrap_or_default();
    let filters = format!("{:?}", (prefix, status, "ListTaskDefinitionFamilies"));
    let token = request.next_token.as_deref();
    let at = page::position(token, &filters).map_err(invalid_token)?;
    let name = at.unwrap_or_else(|| prefix.to_owned());
    let is_wanted = |family: &&Arc<Family>| {
        let mut all = revisions(state, ctx, &family.id.name).rev();
        match status {
            TaskDefinitionFamilyStatus::All => all.next().is_some(),
            TaskDefinitionFamilyStatus::Active => all.any(|d| super::is_active(d)),
            TaskDefinitionFamilyStatus::Inactive => {
                let mut all = all.peekable();
                all.peek().is_some() && !all.any(|d| super::is_active(d))
            }
        }
    };
    let found = state
        .families
        .range(FamilyId { scope: ctx.scope, name }..)
        .take_while(|family| family.id.scope == ctx.scope && family.id.name.starts_with(prefix))
        .filter(is_wanted);
    let page =
        page::page(found, |family| family.id.name.clone(), limit, &filters, token).map_err(invalid_token)?;
    Ok(model::ListTaskDefinitionFamiliesResponse {
        families: Some(page.items.iter().map(|family| family.id.name.clone()).collect()),
        next_token: page.next_token,
    })
}
