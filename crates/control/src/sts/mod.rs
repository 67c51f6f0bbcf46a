//! STS: who calls, and temporary credentials.

use crate::arn::Arn;
use crate::call::{ApiError, Ctx, fault, unbuilt};
use crate::state::State;
use crate::state::sts::AccessKey;
use crate::tx::Tx;
use api::sts::{self as model, Error, Request, Response, SERVICE};
use std::time::Duration;

const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Lifetimes in seconds where the caller names none (API_AssumeRole, API_GetSessionToken).
const ROLE_SECONDS: i32 = 3_600;
const SESSION_SECONDS: i32 = 43_200;
/// The longest session of a role that another role's session has taken, and of the root user.
const CHAINED_SECONDS_MAX: i32 = 3_600;
const ROOT_SECONDS_MAX: i32 = 3_600;

type Answer = Result<Response, ApiError>;

/// Answers a read-only operation; `None` for the others.
pub fn query(state: &State, ctx: &Ctx<'_>, request: &Request) -> Option<Answer> {
    Some(match request {
        Request::GetCallerIdentity(_) => Ok(Response::GetCallerIdentity(model::GetCallerIdentityResponse {
            account: Some(ctx.principal.account.to_string()),
            arn: Some(ctx.principal.arn.clone()),
            user_id: Some(ctx.principal.user_id.clone()),
        })),
        Request::GetAccessKeyInfo(r) => access_key_info(state, r).map(Response::GetAccessKeyInfo),
        _ => return None,
    })
}

/// Runs an operation that changes something.
pub fn execute(tx: &mut Tx<'_>, ctx: &mut Ctx<'_>, request: Request) -> Answer {
    match request {
        Request::AssumeRole(r) => assume_role(tx, ctx, *r).map(Response::AssumeRole),
        Request::GetSessionToken(r) => session_token(tx, ctx, &r).map(Response::GetSessionToken),
        other => Err(unbuilt(
            &SERVICE,
            other.name(),
            |code, text| Error::named(code, text).map(ApiError::Sts),
            |text| fault(400, "UnsupportedOperationException", &text),
        )),
    }
}

fn access_key_info(
    state: &State,
    request: &model::GetAccessKeyInfoRequest,
) -> Result<model::GetAccessKeyInfoResponse, ApiError> {
    let key = state.access_keys.get(&request.access_key_id);
    let key = key.ok_or_else(|| {
        fault(400, "ValidationError", &format!("Access key {} does not exist.", request.access_key_id))
    })?;
    Ok(model::GetAccessKeyInfoResponse { account: Some(key.account.to_string()) })
}

/// Makes the credentials of a role session. A role need not exist yet, and its trust policy is not asked: until there
/// is IAM, every role of the caller's own account may be taken.
fn assume_role(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::AssumeRoleRequest,
) -> Result<model::AssumeRoleResponse, ApiError> {
    let role = role(ctx, &request.role_arn)?;
    if request.policy.is_some() || request.policy_arns.as_ref().is_some_and(|arns| !arns.is_empty()) {
        // Ignoring it would hand out more rights than were asked for.
        let text = "Session policies are not available in this version of Wharf.";
        return Err(fault(400, "ValidationError", text));
    }
    let seconds = request.duration_seconds.unwrap_or(ROLE_SECONDS);
    let is_chained = ctx.principal.arn.contains(":assumed-role/");
    if is_chained && seconds > CHAINED_SECONDS_MAX {
        let text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
        return Err(fault(400, "ValidationError", text));
    }
    let session = &request.role_session_name;
    let principal = format!("arn:aws:sts::{}:assumed-role/{role}/{session}", ctx.scope.account);
    let user_id = format!("{}:{session}", role_id(&request.role_arn));
    let credentials = mint(tx, ctx, principal.clone(), user_id.clone(), seconds);
    Ok(model::AssumeRoleResponse {
        assumed_role_user: Some(model::AssumedRoleUser { arn: principal, assumed_role_id: user_id }),
        credentials: Some(credentials),
        source_identity: request.source_identity,
        ..Default::default()
    })
}

/// The name of the role that an ARN of the caller's account means, without its path.
fn role<'a>(ctx: &Ctx<'_>, arn: &'a str) -> Result<&'a str, ApiError> {
    let account = ctx.scope.account.to_string();
    let parsed = Arn::parse(arn).filter(|a| a.service == "iam" && a.region.is_empty());
    let name = parsed
        .and_then(|a| a.resource.strip_prefix("role/"))
        .map(|path| path.rsplit('/').next().unwrap_or(path));
    let is_name = |name: &&str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
    };
    let name =
        name.filter(is_name).ok_or_else(|| fault(400, "ValidationError", &format!("{arn} is invalid")))?;
    if parsed.is_some_and(|a| a.account == account) {
        return Ok(name);
    }
    let caller = &ctx.principal.arn;
    let text = format!("User: {caller} is not authorized to perform: sts:AssumeRole on resource: {arn}");
    Err(fault(403, "AccessDenied", &text))
}

/// The unique id of a role: the same for every session, since nothing but the ARN is known of it.
fn role_id(arn: &str) -> String {
    let hash = wire::sha256(arn.as_bytes());
    let letters = hash.iter().take(17).map(|b| char::from(UPPER[usize::from(b % 32)]));
    format!("AROA{}", letters.collect::<String>())
}

fn session_token(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::GetSessionTokenRequest,
) -> Result<model::GetSessionTokenResponse, ApiError> {
    if ctx.principal.arn.starts_with("arn:aws:sts:") {
        let text = "Cannot call GetSessionToken with session credentials";
        return Err(fault(403, "AccessDenied", text));
    }
    if request.serial_number.is_some() || request.token_code.is_some() {
        let text = "Multi-factor authentication is not available in this version of Wharf.";
        return Err(fault(400, "ValidationError", text));
    }
    let most = if ctx.principal.arn.ends_with(":root") { ROOT_SECONDS_MAX } else { i32::MAX };
    let seconds = request.duration_seconds.unwrap_or(SESSION_SECONDS).min(most);
    let (arn, user_id) = (ctx.principal.arn.clone(), ctx.principal.user_id.clone());
    let credentials = mint(tx, ctx, arn, user_id, seconds);
    Ok(model::GetSessionTokenResponse { credentials: Some(credentials), ..Default::default() })
}

/// Makes a temporary key for a principal of the caller's account.
fn mint(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    principal: String,
    user_id: String,
    seconds: i32,
) -> model::Credentials {
    let life = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let expires_at = ctx.now.after(life);
    let key = tx.put(AccessKey {
        id: format!("ASIA{}", ctx.secrets.text(16, UPPER)),
        secret: ctx.secrets.text(40, BASE64),
        session_token: Some(ctx.secrets.text(356, BASE64)),
        account: ctx.scope.account,
        principal,
        user_id,
        expires_at: Some(expires_at),
    });
    model::Credentials {
        access_key_id: key.id.clone(),
        expiration: expires_at,
        secret_access_key: key.secret.clone(),
        session_token: key.session_token.clone().unwrap_or_default(),
    }
}
