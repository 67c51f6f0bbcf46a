//! PutAccountSetting, PutAccountSettingDefault, DeleteAccountSetting, ListAccountSettings.

use super::exception::{invalid, invalid_token, page_size};
use crate::call::Ctx;
use crate::page;
use crate::state::State;
use crate::state::ecs::{AccountSetting, AccountSettingId};
use crate::tx::Tx;
use api::ecs::{self as model, Error, SettingName, SettingType};

/// Every setting with its values, the first of which is AWS's default (ecs developer guide, "Account settings").
fn values(name: SettingName) -> &'static [&'static str] {
    match name {
        SettingName::ServiceLongArnFormat
        | SettingName::TaskLongArnFormat
        | SettingName::ContainerInstanceLongArnFormat => &["enabled", "disabled"],
        SettingName::AwsvpcTrunking | SettingName::FargateFIPSMode | SettingName::FargateEventWindows => {
            &["disabled", "enabled"]
        }
        SettingName::ContainerInsights => &["disabled", "enabled", "enhanced"],
        SettingName::TagResourceAuthorization => &["on", "off"],
        SettingName::FargateTaskRetirementWaitPeriod => &["7", "0", "14"],
        SettingName::GuardDutyActivate => &["off", "on"],
        SettingName::DefaultLogDriverMode => &["non-blocking", "blocking"],
    }
}

/// The value in force for the caller: its own, else the account's, else AWS's default.
pub(super) fn effective<'a>(state: &'a State, ctx: &Ctx<'_>, name: SettingName) -> &'a str {
    effective_of(state, ctx, Some(&caller(ctx)), name)
}

fn effective_of<'a>(state: &'a State, ctx: &Ctx<'_>, principal: Option<&str>, name: SettingName) -> &'a str {
    let of = |principal: Option<&str>| state.account_settings.get(&id(ctx, principal, name));
    let found = of(principal.filter(|arn| *arn != root(ctx))).or_else(|| of(None));
    found.map_or(values(name)[0], |setting| &setting.value)
}

/// The root user's ARN, which stands for the whole account: what root sets is everyone's default.
fn root(ctx: &Ctx<'_>) -> String {
    format!("arn:aws:iam::{}:root", ctx.scope.account)
}

/// The ARN that the caller's settings are kept under: a session of a role counts as the role.
fn caller(ctx: &Ctx<'_>) -> String {
    let role = ctx.principal.arn.split_once(":assumed-role/").map(|(_, rest)| rest);
    match role.and_then(|rest| rest.split('/').next()) {
        Some(role) => format!("arn:aws:iam::{}:role/{role}", ctx.scope.account),
        None => ctx.principal.arn.clone(),
    }
}

fn id(ctx: &Ctx<'_>, principal: Option<&str>, name: SettingName) -> AccountSettingId {
    AccountSettingId {
        scope: ctx.scope,
        principal: principal.map(str::to_owned),
        name: name.as_str().to_owned(),
    }
}

/// The principal of a call; only root may name another than itself.
fn principal(ctx: &Ctx<'_>, named: Option<&str>) -> Result<String, Error> {
    let caller = caller(ctx);
    let Some(named) = named else { return Ok(caller) };
    if named == caller {
        return Ok(caller);
    }
    if caller != root(ctx) {
        let text = "Only the root user can name another principal in principalArn.";
        return Err(model::AccessDeniedException::new(text).into());
    }
    let is_principal = crate::arn::Arn::parse(named).is_some_and(|arn| {
        arn.service == "iam"
            && arn.account == ctx.scope.account.to_string()
            && (arn.resource == "root"
                || arn.resource.starts_with("user/")
                || arn.resource.starts_with("role/"))
    });
    if is_principal { Ok(named.to_owned()) } else { Err(invalid("Invalid principalArn.")) }
}

fn view(ctx: &Ctx<'_>, principal: Option<&str>, name: SettingName, value: &str) -> model::Setting {
    let managed = name == SettingName::GuardDutyActivate;
    model::Setting {
        name: Some(name),
        value: Some(value.to_owned()),
        principal_arn: Some(principal.map_or_else(|| root(ctx), str::to_owned)),
        r#type: Some(if managed { SettingType::AwsManaged } else { SettingType::User }),
    }
}

fn put_value(
    tx: &mut Tx<'_>,
    ctx: &Ctx<'_>,
    principal: Option<&str>,
    (name, value): (SettingName, String),
) -> Result<model::Setting, Error> {
    if name == SettingName::GuardDutyActivate {
        return Err(invalid(
            "The guardDutyActivate setting is read-only. Use Amazon GuardDuty to change it.",
        ));
    }
    if !values(name).contains(&value.as_str()) {
        return Err(invalid("Invalid setting 'value'"));
    }
    if name.as_str().ends_with("LongArnFormat") && value == "disabled" {
        return Err(invalid("You can no longer disable Long Arn settings"));
    }
    if name == SettingName::FargateTaskRetirementWaitPeriod && principal.is_some() {
        return Err(invalid("fargateTaskRetirementWaitPeriod can only be set for the whole account."));
    }
    let setting = tx.put(AccountSetting { id: id(ctx, principal, name), value });
    Ok(view(ctx, principal, name, &setting.value))
}

pub(super) fn put(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::PutAccountSettingRequest,
) -> Result<model::PutAccountSettingResponse, Error> {
    let principal = principal(ctx, request.principal_arn.as_deref())?;
    let principal = Some(principal.as_str()).filter(|arn| *arn != root(ctx));
    let setting = put_value(tx, ctx, principal, (request.name, request.value))?;
    Ok(model::PutAccountSettingResponse { setting: Some(setting) })
}

pub(super) fn put_default(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::PutAccountSettingDefaultRequest,
) -> Result<model::PutAccountSettingDefaultResponse, Error> {
    let setting = put_value(tx, ctx, None, (request.name, request.value))?;
    Ok(model::PutAccountSettingDefaultResponse { setting: Some(setting) })
}

pub(super) fn delete(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::DeleteAccountSettingRequest,
) -> Result<model::DeleteAccountSettingResponse, Error> {
    let principal = principal(ctx, request.principal_arn.as_deref())?;
    let key = id(ctx, Some(principal.as_str()).filter(|arn| *arn != root(ctx)), request.name);
    let value = tx.get::<AccountSetting>(&key).map(|setting| setting.value.clone());
    tx.remove::<AccountSetting>(&key);
    let value = value
        .unwrap_or_else(|| effective_of(tx.state(), ctx, key.principal.as_deref(), request.name).to_owned());
    let setting = view(ctx, key.principal.as_deref(), request.name, &value);
    Ok(model::DeleteAccountSettingResponse { setting: Some(setting) })
}

pub(super) fn list(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListAccountSettingsRequest,
) -> Result<model::ListAccountSettingsResponse, Error> {
    let limit = page_size(request.max_results, 10)?;
    if request.value.is_some() && request.name.is_none() {
        return Err(invalid("You must specify an account setting name to filter by value."));
    }
    let principal = principal(ctx, request.principal_arn.as_deref())?;
    let own = Some(principal.as_str()).filter(|arn| *arn != root(ctx));
    let is_effective = request.effective_settings == Some(true);
    let value = |name: SettingName| {
        if is_effective {
            return Some(effective_of(state, ctx, own, name));
        }
        state.account_settings.get(&id(ctx, own, name)).map(|setting| setting.value.as_str())
    };
    let mut names: Vec<SettingName> =
        SettingName::VALUES.iter().filter_map(|name| SettingName::parse(name)).collect();
    names.sort_by_key(|name| name.as_str());
    let settings = names
        .into_iter()
        .filter(|name| request.name.is_none_or(|wanted| *name == wanted))
        .filter_map(|name| Some((name, value(name)?)))
        .filter(|(_, value)| request.value.as_ref().is_none_or(|wanted| wanted == value));
    let filters =
        format!("{:?}", (&request.name, &request.value, &principal, is_effective, "ListAccountSettings"));
    let key = |(name, _): &(SettingName, &str)| name.as_str().to_owned();
    let page =
        page::page(settings, key, limit, &filters, request.next_token.as_deref()).map_err(invalid_token)?;
    let settings = page.items.into_iter().map(|(name, value)| view(ctx, own, name, value)).collect();
    Ok(model::ListAccountSettingsResponse { settings: Some(settings), next_token: page.next_token })
}
