//! CreateLogGroup, DeleteLogGroup, DescribeLogGroups, ListLogGroups, PutRetentionPolicy, DeleteRetentionPolicy.

use super::exception;
use crate::arn::Arn;
use crate::call::{ApiError, Ctx};
use crate::page;
use crate::state::ecs::Tag;
use crate::state::logs::{LogGroup, LogGroupId, LogStream, LogStreamId};
use crate::state::{Scope, State};
use crate::tx::Tx;
use api::logs::{self as model, LogGroupClass};
use std::sync::Arc;

/// Days for which events may be kept (API_PutRetentionPolicy).
const RETENTION_DAYS: &[i32] = &[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

pub(super) fn id(ctx: &Ctx<'_>, name: &str) -> LogGroupId {
    LogGroupId { scope: ctx.scope, name: name.to_owned() }
}

/// The group of that name, which must exist.
pub(super) fn find<'a>(state: &'a State, ctx: &Ctx<'_>, name: &str) -> Result<&'a Arc<LogGroup>, ApiError> {
    state.log_groups.get(&id(ctx, name)).ok_or_else(exception::group_not_found)
}

/// The group that an ARN stands for, with or without `:*` at its end.
pub(super) fn find_arn<'a>(
    state: &'a State,
    ctx: &Ctx<'_>,
    arn: &str,
) -> Result<&'a Arc<LogGroup>, ApiError> {
    let name = Arn::parse(arn)
        .filter(|arn| arn.service == "logs" && arn.is_in(ctx.scope))
        .and_then(|arn| arn.resource.strip_prefix("log-group:"))
        .map(|name| name.strip_suffix(":*").unwrap_or(name));
    let name =
        name.ok_or_else(|| exception::invalid("The specified resource ARN is not that of a log group."))?;
    find(state, ctx, name)
}

pub(super) fn create(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::CreateLogGroupRequest,
) -> Result<model::Unit, ApiError> {
    let id = id(ctx, &request.log_group_name);
    if id.name.starts_with("aws/") {
        return Err(exception::invalid("Log groups starting with AWS/ are reserved for AWS."));
    }
    if request.deletion_protection_enabled == Some(true) {
        return Err(exception::invalid("Deletion protection is not available in this version of Wharf."));
    }
    if tx.get::<LogGroup>(&id).is_some() {
        return Err(exception::group_exists());
    }
    let tags = request.tags.unwrap_or_default().into_iter();
    let sequence = tx.next_sequence();
    tx.put(LogGroup {
        id,
        sequence,
        created_at: ctx.now,
        retention_days: None,
        class: request.log_group_class.unwrap_or(LogGroupClass::Standard).as_str().to_owned(),
        kms_key: request.kms_key_id,
        tags: tags.map(|(key, value)| Tag { key, value }).collect(),
    });
    Ok(model::Unit {})
}

pub(super) fn delete(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::DeleteLogGroupRequest,
) -> Result<model::Unit, ApiError> {
    let id = find(tx.state(), ctx, &request.log_group_name)?.id.clone();
    let streams: Vec<LogStreamId> = super::streams::of(tx.state(), &id, "").map(|s| s.id.clone()).collect();
    streams.iter().for_each(|stream| tx.remove::<LogStream>(stream));
    tx.remove::<LogGroup>(&id);
    Ok(model::Unit {})
}

/// The groups of an account and Region by name.
fn of(state: &State, scope: Scope) -> impl Iterator<Item = &Arc<LogGroup>> {
    let first = LogGroupId { scope, name: String::new() };
    state.log_groups.range(first..).take_while(move |group| group.id.scope == scope)
}

pub(super) fn describe(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::DescribeLogGroupsRequest,
) -> Result<model::DescribeLogGroupsResponse, ApiError> {
    let (prefix, pattern) =
        (request.log_group_name_prefix.as_deref(), request.log_group_name_pattern.as_deref());
    if prefix.is_some() && pattern.is_some() {
        let text = "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.";
        return Err(exception::invalid(text));
    }
    let pattern = pattern.map(str::to_lowercase);
    let named = request.log_group_identifiers.as_ref();
    let is_shown = |group: &LogGroup| {
        let name = group.id.name.as_str();
        prefix.is_none_or(|prefix| name.starts_with(prefix))
            && pattern.as_ref().is_none_or(|pattern| name.to_lowercase().contains(pattern.as_str()))
            && request.log_group_class.is_none_or(|class| group.class == class.as_str())
            && named.is_none_or(|ids| ids.iter().any(|id| id == name || *id == arn(&group.id)))
    };
    let page = page::page(
        of(state, ctx.scope).filter(|group| is_shown(group)),
        |group| group.id.name.clone(),
        super::limit(request.limit, 50),
        &format!("DescribeLogGroups {prefix:?} {pattern:?}"),
        request.next_token.as_deref(),
    )
    .map_err(exception::invalid_token)?;
    Ok(model::DescribeLogGroupsResponse {
        log_groups: Some(page.items.into_iter().map(|group| view(group)).collect()),
        next_token: page.next_token,
    })
}

pub(super) fn list(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListLogGroupsRequest,
) -> Result<model::ListLogGroupsResponse, ApiError> {
    let pattern = request.log_group_name_pattern.as_deref();
    let matches = |name: &str| {
        pattern.is_none_or(|pattern| {
            pattern.split('|').any(|part| match part.strip_prefix('^') {
                Some(prefix) => name.starts_with(prefix),
                None => name.contains(part),
            })
        })
    };
    let has_class =
        |group: &LogGroup| request.log_group_class.is_none_or(|class| group.class == class.as_str());
    let page = page::page(
        of(state, ctx.scope).filter(|group| matches(&group.id.name) && has_class(group)),
        |group| group.id.name.clone(),
        super::limit(request.limit, 50),
        &format!("ListLogGroups {pattern:?}"),
        request.next_token.as_deref(),
    )
    .map_err(exception::invalid_token)?;
    let summary = |group: &Arc<LogGroup>| model::LogGroupSummary {
        log_group_arn: Some(arn(&group.id)),
        log_group_class: LogGroupClass::parse(&group.class),
        log_group_name: Some(group.id.name.clone()),
    };
    Ok(model::ListLogGroupsResponse {
        log_groups: Some(page.items.into_iter().map(summary).collect()),
        next_token: page.next_token,
    })
}

pub(super) fn put_retention(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::PutRetentionPolicyRequest,
) -> Result<model::Unit, ApiError> {
    let days = request.retention_in_days;
    if !RETENTION_DAYS.contains(&days) {
        let set: Vec<String> = RETENTION_DAYS.iter().map(i32::to_string).collect();
        return Err(exception::invalid(&format!(
            "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: Member \
             must satisfy enum value set: [{}]",
            set.join(", ")
        )));
    }
    set_retention(tx, ctx, &request.log_group_name, Some(days))
}

pub(super) fn delete_retention(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::DeleteRetentionPolicyRequest,
) -> Result<model::Unit, ApiError> {
    set_retention(tx, ctx, &request.log_group_name, None)
}

fn set_retention(
    tx: &mut Tx<'_>,
    ctx: &Ctx<'_>,
    name: &str,
    days: Option<i32>,
) -> Result<model::Unit, ApiError> {
    let id = find(tx.state(), ctx, name)?.id.clone();
    tx.edit::<LogGroup>(&id, |group| group.retention_days = days);
    Ok(model::Unit {})
}

/// `arn:aws:logs:REGION:ACCOUNT:log-group:NAME`.
pub fn arn(id: &LogGroupId) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{}", id.scope.region, id.scope.account, id.name)
}

/// The group as DescribeLogGroups shows it; how much is stored, only the event store knows.
fn view(group: &LogGroup) -> model::LogGroup {
    let arn = arn(&group.id);
    model::LogGroup {
        arn: Some(format!("{arn}:*")),
        log_group_arn: Some(arn),
        log_group_name: Some(group.id.name.clone()),
        creation_time: Some(group.created_at.millis()),
        kms_key_id: group.kms_key.clone(),
        log_group_class: LogGroupClass::parse(&group.class),
        metric_filter_count: Some(0),
        retention_in_days: group.retention_days,
        stored_bytes: Some(0),
        ..Default::default()
    }
}
