//! The root user's access key: made at the first start and kept in the data directory with mode 0600, or chosen by the
//! operator.

use crate::error::StartError;
use crate::secret;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file in the data directory.
const FILE: &str = "root-key.json";

/// An access key and what `wharf env` prints beside it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootKey {
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RootKey({})", self.access_key_id)
    }
}

impl RootKey {
    /// The key of the data directory, made if there is none.
    pub fn kept(data: &Path) -> Result<Self, StartError> {
        crate::private_directory(data)?;
        let path = data.join(FILE);
        let bytes = secret::kept(&path, || {
            let key = Self {
                access_key_id: format!("AKIA{}", secret::text(16, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")?),
                secret_access_key: secret::text(
                    40,
                    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                )?,
            };
            serde_json::to_vec_pretty(&key).map_err(|_| crate::Unavailable::Broken("a key cannot be written"))
        })?;
        serde_json::from_slice(&bytes).map_err(|error| StartError::File {
            path,
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        })
    }

    /// The key of a data directory where Wharf has run before.
    pub fn read(data: &Path) -> Result<Option<Self>, StartError> {
        if data.join(FILE).exists() { Self::kept(data).map(Some) } else { Ok(None) }
    }
}
