//! ECR authorization tokens: a sealed, expiring principal; nothing is stored.
//!
//! The password is an AES-256-GCM box under a key that only this data directory has. It carries account and Region,
//! because a host name such as `localhost:4566` does not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use control::Principal;
use control::state::{AccountId, Region, Scope};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use stdx::Timestamp;

/// Marks the version of the box.
const CONTEXT: &[u8] = b"wharf ecr token 1";

/// Seals and opens tokens.
pub(crate) struct Tokens {
    key: LessSafeKey,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub scope: Scope,
    /// The caller's account, ARN and unique id.
    account: AccountId,
    arn: String,
    user_id: String,
    pub expires_at: Timestamp,
}

impl Token {
    pub(crate) fn new(scope: Scope, principal: &Principal, expires_at: Timestamp) -> Self {
        Self {
            scope,
            account: principal.account,
            arn: principal.arn.clone(),
            user_id: principal.user_id.clone(),
            expires_at,
        }
    }

    pub(crate) fn principal(&self) -> Principal {
        Principal { account: self.account, arn: self.arn.clone(), user_id: self.user_id.clone() }
    }

    pub(crate) fn region(&self) -> Region {
        self.scope.region
    }
}

/// A token that was not sealed here, or is damaged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forged;

impl Tokens {
    /// `key` is 32 bytes; `None` if it is not.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(Self { key: LessSafeKey::new(key) })
    }

    /// The password of `docker login`.
    pub(crate) fn seal(&self, token: &Token, nonce: [u8; NONCE_LEN]) -> Option<String> {
        let mut sealed = serde_json::to_vec(token).ok()?;
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(CONTEXT), &mut sealed)
            .ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Reads a password; the caller checks the expiry.
    pub(crate) fn open(&self, password: &str) -> Result<Token, Forged> {
        let bytes = URL_SAFE_NO_PAD.decode(password.trim()).map_err(|_| Forged)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(Forged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Forged)?;
        let mut sealed = sealed.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(CONTEXT), &mut sealed).map_err(|_| Forged)?;
        serde_json::from_slice(plain).map_err(|_| Forged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        let account = AccountId(123_456_789_012);
        let region = Region::parse("eu-west-1").expect("a Region");
        let principal = Principal {
            account,
            arn: "arn:aws:iam::123456789012:root".into(),
            user_id: "123456789012".into(),
        };
        Token::new(Scope { account, region }, &principal, Timestamp(1000))
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let tokens = Tokens::new(&[7; 32]).expect("a key");
        let password = tokens.seal(&token(), [1; NONCE_LEN]).expect("sealed");
        assert_eq!(tokens.open(&password), Ok(token()));
        assert_eq!(tokens.open(&format!("B{}", &password[1..])), Err(Forged));
        assert_eq!(tokens.open(""), Err(Forged));
        assert_eq!(Tokens::new(&[8; 32]).expect("a key").open(&password), Err(Forged));
    }
}
