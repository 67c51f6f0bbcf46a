//! Resources of a cluster as callers name them: by id, or by an ARN that must be of that cluster.

use super::exception::invalid;
use crate::arn::Arn;
use crate::call::Ctx;
use crate::state::ecs::ClusterId;
use api::ecs::Error;

/// The id in `text`, an id or an ARN of the given kind (`task`, `container-instance`) with or without its cluster.
pub(super) fn own_id<'t>(
    ctx: &Ctx<'_>,
    cluster: &ClusterId,
    kind: &str,
    text: &'t str,
) -> Result<&'t str, Error> {
    let Some(arn) = Arn::parse(text) else { return Ok(text) };
    let refuse = |why: String| Err(invalid(format!("Invalid identifier: {why}")));
    let rest = arn.resource.split_once('/').filter(|(found, _)| *found == kind && arn.service == "ecs");
    let Some((_, rest)) = rest else { return refuse(format!("{text} is not the ARN of a {kind}")) };
    if !arn.is_in(ctx.scope) {
        return refuse(format!("{text} is of another account or Region"));
    }
    match rest.split_once('/') {
        None => Ok(rest),
        Some((of, id)) if of == cluster.name => Ok(id),
        Some((of, _)) => refuse(format!("Identifier is for cluster {of}. Your cluster is {}", cluster.name)),
    }
}
