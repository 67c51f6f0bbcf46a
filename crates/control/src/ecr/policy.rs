//! SetRepositoryPolicy, GetRepositoryPolicy, DeleteRepositoryPolicy, and the lifecycle policy that no repository has.

use super::{errors, repositories};
use crate::call::{ApiError, Ctx};
use crate::state::State;
use crate::state::ecr::Repository;
use crate::tx::Tx;
use api::ecr as model;
use serde_json::Value;

pub(super) fn set(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::SetRepositoryPolicyRequest,
) -> Result<model::SetRepositoryPolicyResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    let id = repositories::find(tx.state(), ctx, registry, &request.repository_name)?.id.clone();
    if !is_policy(&request.policy_text) {
        return Err(errors::invalid("PolicyText", "Invalid repository policy provided"));
    }
    tx.edit::<Repository>(&id, |r| r.policy = Some(request.policy_text.clone()));
    Ok(model::SetRepositoryPolicyResponse {
        policy_text: Some(request.policy_text),
        registry_id: Some(id.scope.account.to_string()),
        repository_name: Some(id.name),
    })
}

/// Whether a text is a resource policy: statements, each with an effect, a principal and actions (IAM's grammar).
fn is_policy(text: &str) -> bool {
    let Ok(Value::Object(policy)) = serde_json::from_str(text) else { return false };
    let version = policy.get("Version");
    if version.is_some_and(|v| !matches!(v.as_str(), Some("2008-10-17" | "2012-10-17"))) {
        return false;
    }
    let is_statement = |statement: &Value| {
        let has = |name: &str| statement.get(name).is_some_and(|v| !v.is_null());
        matches!(statement.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny"))
            && (has("Principal") ^ has("NotPrincipal"))
            && (has("Action") ^ has("NotAction"))
    };
    match policy.get("Statement") {
        Some(Value::Array(statements)) => !statements.is_empty() && statements.iter().all(is_statement),
        Some(statement @ Value::Object(_)) => is_statement(statement),
        _ => false,
    }
}

pub(super) fn get(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::GetRepositoryPolicyRequest,
) -> Result<model::GetRepositoryPolicyResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    let repository = repositories::find(state, ctx, registry, &request.repository_name)?;
    let policy = repository.policy.clone().ok_or_else(|| errors::policy_not_found(&repository.id))?;
    Ok(model::GetRepositoryPolicyResponse {
        policy_text: Some(policy),
        registry_id: Some(repository.id.scope.account.to_string()),
        repository_name: Some(repository.id.name.clone()),
    })
}

pub(super) fn delete(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::DeleteRepositoryPolicyRequest,
) -> Result<model::DeleteRepositoryPolicyResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    let repository = repositories::find(tx.state(), ctx, registry, &request.repository_name)?.clone();
    let policy = repository.policy.clone().ok_or_else(|| errors::policy_not_found(&repository.id))?;
    tx.edit::<Repository>(&repository.id, |r| r.policy = None);
    Ok(model::DeleteRepositoryPolicyResponse {
        policy_text: Some(policy),
        registry_id: Some(repository.id.scope.account.to_string()),
        repository_name: Some(repository.id.name.clone()),
    })
}

/// GetLifecyclePolicy and DeleteLifecyclePolicy: PutLifecyclePolicy is not built, so that there never is one.
pub(super) fn no_lifecycle(state: &State, ctx: &Ctx<'_>, registry: Option<&str>, name: &str) -> ApiError {
    match repositories::find(state, ctx, registry, name) {
        Ok(repository) => errors::lifecycle_policy_not_found(&repository.id),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::is_policy;

    #[test]
    fn policies() {
        let statement = r#"{"Effect":"Allow","Principal":"*","Action":"ecr:*"}"#;
        assert!(is_policy(&format!(r#"{{"Version":"2008-10-17","Statement":[{statement}]}}"#)));
        assert!(is_policy(&format!(r#"{{"Statement":{statement}}}"#)));
        for text in
            ["", "[]", "{}", r#"{"Statement":[]}"#, r#"{"Statement":[{"Effect":"Allow","Action":"*"}]}"#]
        {
            assert!(!is_policy(text), "{text}");
        }
    }
}
