//! DescribeRegistry, GetRegistryPolicy, DeleteRegistryPolicy, account settings, and what an authorization token says.

use super::{errors, repositories};
use crate::call::{ApiError, Ctx, Principal};
use crate::core::Settings;
use crate::state::ecr::Registry;
use crate::state::{AccountId, Scope, State};
use crate::tx::Tx;
use api::ecr as model;
use std::time::Duration;
use stdx::Timestamp;

/// How long an authorization token is good for (API_AuthorizationData).
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);

/// Account settings: name, values, default.
const SETTINGS: &[(&str, &[&str], &str)] = &[
    ("BASIC_SCAN_TYPE_VERSION", &["AWS_NATIVE"], "AWS_NATIVE"),
    ("BLOB_MOUNTING", &["ENABLED", "DISABLED"], "DISABLED"),
    ("REGISTRY_POLICY_SCOPE", &["V2"], "V2"),
];

pub(super) fn describe(ctx: &Ctx<'_>) -> model::DescribeRegistryResponse {
    model::DescribeRegistryResponse {
        registry_id: Some(ctx.scope.account.to_string()),
        replication_configuration: Some(model::ReplicationConfiguration { rules: Vec::new() }),
    }
}

/// GetRegistryPolicy and DeleteRegistryPolicy: PutRegistryPolicy is not built, so that there never is one.
pub(super) fn no_policy(ctx: &Ctx<'_>) -> ApiError {
    errors::registry_policy_not_found(&ctx.scope.account.to_string())
}

fn known(name: &str) -> Result<&'static (&'static str, &'static [&'static str], &'static str), ApiError> {
    SETTINGS.iter().find(|(known, ..)| *known == name).ok_or_else(|| {
        errors::invalid(
            "name",
            "must be one of BASIC_SCAN_TYPE_VERSION, BLOB_MOUNTING, REGISTRY_POLICY_SCOPE",
        )
    })
}

fn setting(state: &State, scope: Scope, name: &str) -> Option<String> {
    let set = state.registries.get(&scope).and_then(|r| r.settings.get(name)).cloned();
    set.or_else(|| {
        SETTINGS.iter().find(|(known, ..)| *known == name).map(|(.., default)| (*default).to_owned())
    })
}

/// Whether layers of one repository may be mounted into another of the same registry.
pub fn may_mount(state: &State, scope: Scope) -> bool {
    setting(state, scope, "BLOB_MOUNTING").as_deref() == Some("ENABLED")
}

pub(super) fn get_setting(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::GetAccountSettingRequest,
) -> Result<model::GetAccountSettingResponse, ApiError> {
    known(&request.name)?;
    Ok(model::GetAccountSettingResponse {
        value: setting(state, ctx.scope, &request.name),
        name: Some(request.name.clone()),
    })
}

pub(super) fn put_setting(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::PutAccountSettingRequest,
) -> Result<model::PutAccountSettingResponse, ApiError> {
    let (_, values, _) = known(&request.name)?;
    if !values.contains(&request.value.as_str()) {
        return Err(errors::invalid("value", &format!("must be one of {}", values.join(", "))));
    }
    let mut registry = match tx.get::<Registry>(&ctx.scope) {
        Some(registry) => (**registry).clone(),
        None => Registry { id: ctx.scope, settings: Default::default() },
    };
    registry.settings.insert(request.name.clone(), request.value.clone());
    tx.put(registry);
    Ok(model::PutAccountSettingResponse { name: Some(request.name), value: Some(request.value) })
}

/// What one authorization token stands for. The shell seals it with its key into the password of user `AWS`, and
/// opens it again when the registry is called; nothing of it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Whose rights the token carries, at the time of use.
    pub principal: Principal,
    /// The registry that the endpoint belongs to, and the Region that the token is good in.
    pub scope: Scope,
    pub expires_at: Timestamp,
    pub proxy_endpoint: String,
}

impl Authorization {
    /// The entry of the reply, with `base64("AWS:" + password)` as the token.
    pub fn data(&self, token: String) -> model::AuthorizationData {
        model::AuthorizationData {
            authorization_token: Some(token),
            expires_at: Some(self.expires_at),
            proxy_endpoint: Some(self.proxy_endpoint.clone()),
        }
    }
}

/// GetAuthorizationToken without the sealing: one entry for each of `registryIds`, else one for the caller's registry.
pub fn authorization(
    settings: &Settings,
    now: Timestamp,
    principal: &Principal,
    scope: Scope,
    request: &model::GetAuthorizationTokenRequest,
) -> Result<Vec<Authorization>, ApiError> {
    let account = |id: &String| {
        AccountId::parse(id)
            .ok_or_else(|| errors::invalid("registryIds", "must satisfy regular expression '[0-9]{12}'"))
    };
    let accounts = match request.registry_ids.as_deref() {
        None | Some([]) => vec![scope.account],
        Some(ids) => ids.iter().map(account).collect::<Result<_, _>>()?,
    };
    let entry = |account| {
        let scope = Scope { account, ..scope };
        let host = repositories::host(settings, scope);
        let scheme = if is_loopback(&host) { "http" } else { "https" };
        Authorization {
            principal: principal.clone(),
            scope,
            expires_at: now.after(TOKEN_LIFE),
            proxy_endpoint: format!("{scheme}://{host}"),
        }
    };
    Ok(accounts.into_iter().map(entry).collect())
}

/// Whether clients reach the host over plain HTTP.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.ends_with(".localhost") || name.starts_with("127.") || name == "[::1]"
}
