//! Logins for ECR registries, kept until shortly before they expire.

use crate::client::{Call, Client};
use crate::clock::now;
use crate::config::Credentials;
use crate::error::CallError;
use api::acs::IAMRoleCredentials;
use api::ecr;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runtime::RegistryCredentials;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use stdx::Timestamp;

/// Renewed so long before the end. Source: ecs-agent-protocol, "registryAuthentication".
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 60);

/// GetAuthorizationToken's answers by region, registry, endpoint and role.
pub(crate) struct RegistryTokens {
    client: Client,
    endpoint: String,
    kept: Mutex<BTreeMap<[String; 4], (RegistryCredentials, Timestamp)>>,
}

impl RegistryTokens {
    /// Asks at this endpoint unless a payload names another.
    pub(crate) fn new(client: Client, endpoint: String) -> Self {
        Self { client, endpoint, kept: Mutex::default() }
    }

    pub(crate) async fn login(
        &self,
        region: &str,
        registry_id: &str,
        endpoint: Option<&str>,
        role: Option<&IAMRoleCredentials>,
    ) -> Result<RegistryCredentials, CallError> {
        let endpoint = match endpoint {
            Some(endpoint) if endpoint.contains("://") => endpoint.to_owned(),
            Some(endpoint) => format!("https://{endpoint}"),
            None => self.endpoint.clone(),
        };
        let role_arn = role.and_then(|r| r.role_arn.clone()).unwrap_or_default();
        let key = [region.to_owned(), registry_id.to_owned(), endpoint.clone(), role_arn];
        if let Some(login) = self.kept(&key) {
            return Ok(login);
        }
        let region = Some(region).filter(|r| !r.is_empty());
        let client = self.client.with(region, role.map(role_credentials));
        let request = ecr::GetAuthorizationTokenRequest {
            registry_ids: Some(vec![registry_id.to_owned()]).filter(|_| !registry_id.is_empty()),
        };
        let call = Call { endpoint: &endpoint, service: &ecr::SERVICE, operation: "GetAuthorizationToken" };
        let reply: ecr::GetAuthorizationTokenResponse = client.call(call, &request).await?;
        let data = reply.authorization_data.and_then(|d| d.into_iter().next()).unwrap_or_default();
        let login =
            decoded(data.authorization_token.as_deref().unwrap_or_default()).ok_or(CallError::Reply {
                operation: "GetAuthorizationToken",
                source: wire::Malformed("the token is not user:password in base64".to_owned()),
            })?;
        let expires = data.expires_at.unwrap_or_default();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (_, expires)| expires.since(now()) > Duration::ZERO);
        kept.insert(key, (login.clone(), expires));
        Ok(login)
    }

    fn kept(&self, key: &[String; 4]) -> Option<RegistryCredentials> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (login, expires) = kept.get(key)?;
        (expires.since(now()) > RENEW_BEFORE).then(|| login.clone())
    }
}

/// A task's role as an identity to sign with.
pub(crate) fn role_credentials(role: &IAMRoleCredentials) -> Credentials {
    Credentials {
        access_key_id: role.access_key_id.clone().unwrap_or_default(),
        secret_access_key: role.secret_access_key.clone().unwrap_or_default(),
        session_token: role.session_token.clone().filter(|t| !t.is_empty()),
    }
}

fn decoded(token: &str) -> Option<RegistryCredentials> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(RegistryCredentials { username: username.to_owned(), password: password.to_owned() })
}
