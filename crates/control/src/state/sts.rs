//! Access keys, permanent and temporary.

use super::Entity;
use super::scope::AccountId;
use serde::{Deserialize, Serialize};
use std::fmt;
use stdx::Timestamp;

/// A credential: the root user's key, or the temporary one of a role session.
#[derive(Clone, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA…` or `ASIA…`.
    pub id: String,
    pub secret: String,
    /// Only temporary keys have one.
    pub session_token: Option<String>,
    pub account: AccountId,
    /// The principal's ARN: `arn:aws:iam::ACCOUNT:root` or `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    pub principal: String,
    /// The unique id that GetCallerIdentity shows.
    pub user_id: String,
    pub expires_at: Option<Timestamp>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

impl Entity for AccessKey {
    type Id = String;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.expires_at
    }
}
