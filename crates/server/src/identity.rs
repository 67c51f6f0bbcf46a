//! Who signed a request: verifies SigV4 against the keys in the state, or takes any key where the operator said so.

use crate::driver::{Driver, now};
use control::Principal;
use control::state::{AccountId, Region, Scope};
use std::sync::Arc;
use wire::Fault;
use wire::sigv4::{Parts, Signed};

/// How requests are authenticated.
pub(crate) struct Identity {
    pub(crate) driver: Arc<Driver>,
    /// Every key is taken, and a 12-digit key id names the account.
    pub(crate) any_credentials: bool,
    /// The account and Region where a request names none.
    pub(crate) home: Scope,
}

/// An authenticated caller.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) scope: Scope,
    /// The service of the credential scope.
    pub(crate) service: String,
}

impl Identity {
    /// The caller, if the request's signature is good.
    pub(crate) fn authenticate(&self, parts: &Parts<'_>, body: &[u8]) -> Result<Caller, Fault> {
        let Some(signed) = Signed::parse(parts)? else {
            return if self.any_credentials {
                Ok(self.caller(root(self.home.account), self.home.region, ""))
            } else {
                Err(Fault::missing_authentication_token())
            };
        };
        let region = Region::parse(&signed.region).ok_or_else(|| {
            Fault::invalid_signature(&format!(
                "Credential should be scoped to a valid region, not '{}'.",
                signed.region
            ))
        })?;
        if self.any_credentials {
            let account = AccountId::parse(&signed.access_key_id).unwrap_or(self.home.account);
            return Ok(self.caller(root(account), region, &signed.service));
        }
        let (key, _) = self.driver.view(|core| core.state().access_keys.get(&signed.access_key_id).cloned());
        let key = key.ok_or_else(Fault::unrecognized_client)?;
        signed.verify_token(key.session_token.as_deref())?;
        if key.expires_at.is_some_and(|at| at <= now()) {
            return Err(Fault::expired_token());
        }
        signed.verify(parts, body, &key.secret, now())?;
        let principal =
            Principal { account: key.account, arn: key.principal.clone(), user_id: key.user_id.clone() };
        Ok(self.caller(principal, region, &signed.service))
    }

    fn caller(&self, principal: Principal, region: Region, service: &str) -> Caller {
        let scope = Scope { account: principal.account, region };
        Caller { principal, scope, service: service.to_owned() }
    }
}

/// The root user of an account.
pub(crate) fn root(account: AccountId) -> Principal {
    Principal { account, arn: format!("arn:aws:iam::{account}:root"), user_id: account.to_string() }
}
