//! Temporary credentials of tasks' roles: made with the task, renewed while it lives, ended soon after it.

use crate::arn::Arn;
use crate::call::Env;
use crate::state::ecs::{RoleCredentials, Task, TaskId};
use crate::state::sts::AccessKey;
use crate::state::{AccountId, Scope};
use crate::tx::Tx;
use std::time::Duration;

/// How long credentials are good for.
const LIFE: Duration = Duration::from_secs(6 * 3600);
/// How long an agent may still write logs with a stopped task's credentials.
const GRACE: Duration = Duration::from_secs(300);
const KEY_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Makes credentials of a role for a task, under the same id as those that they follow.
pub(crate) fn mint(
    tx: &mut Tx<'_>,
    env: &mut Env<'_>,
    (scope, task): (Scope, TaskId),
    role: &str,
    earlier: Option<&RoleCredentials>,
) -> RoleCredentials {
    let role_arn = if role.starts_with("arn:") {
        role.to_owned()
    } else {
        format!("arn:aws:iam::{}:role/{role}", scope.account)
    };
    let account =
        Arn::parse(&role_arn).and_then(|arn| AccountId::parse(arn.account)).unwrap_or(scope.account);
    let name = role_arn.rsplit('/').next().unwrap_or(&role_arn);
    let access_key = format!("ASIA{}", env.secrets.text(16, KEY_ALPHABET));
    let expires_at = env.now.after(LIFE);
    tx.put(AccessKey {
        id: access_key.clone(),
        secret: env.secrets.text(40, SECRET_ALPHABET),
        session_token: Some(env.secrets.text(256, SECRET_ALPHABET)),
        account,
        principal: format!("arn:aws:sts::{account}:assumed-role/{name}/{task}"),
        user_id: format!("{}:{task}", role_id(&role_arn)),
        expires_at: Some(expires_at),
    });
    let credentials_id = earlier.map_or_else(|| stdx::id::uuid(env.rng), |c| c.credentials_id.clone());
    RoleCredentials { credentials_id, role_arn, access_key, expires_at }
}

/// A role's unique id (`AROA…`): always the same for the same ARN.
fn role_id(role_arn: &str) -> String {
    let digest = wire::sha256(role_arn.as_bytes());
    let letter = |byte: &u8| char::from(KEY_ALPHABET[usize::from(*byte) % KEY_ALPHABET.len()]);
    format!("AROA{}", digest.iter().take(17).map(letter).collect::<String>())
}

/// Replaces what of a task's credentials is about to end; the old ones stay good until then.
pub(crate) fn renew(tx: &mut Tx<'_>, env: &mut Env<'_>, task: &Task) {
    let mut renewed = task.clone();
    for slot in [&mut renewed.role_credentials, &mut renewed.execution_role_credentials] {
        if let Some(old) = slot.as_ref().filter(|c| c.renew_at() <= env.now).cloned() {
            *slot = Some(mint(tx, env, (task.cluster.scope, task.id), &old.role_arn, Some(&old)));
        }
    }
    tx.put(renewed);
}

/// Ends a stopped task's credentials.
pub(crate) fn retire(tx: &mut Tx<'_>, now: stdx::Timestamp, task: &mut Task) {
    let taken = task.role_credentials.take().into_iter().chain(task.execution_role_credentials.take());
    for credentials in taken {
        tx.edit::<AccessKey>(&credentials.access_key, |key| {
            key.expires_at = key.expires_at.map(|at| at.min(now.after(GRACE)));
        });
    }
}
