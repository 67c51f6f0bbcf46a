//! `wharf env`: what a shell must export for the AWS CLI and every SDK.

use crate::cli::Env;
use anyhow::{Context, Result};
use server::RootKey;
use std::io::Write;

pub(crate) fn run(arguments: &Env) -> Result<()> {
    let data = arguments.place.data();
    let endpoint = arguments.place.endpoint()?;
    let key = match chosen_key() {
        Some(key) => key,
        None => {
            RootKey::read(&data)?.with_context(|| format!("there is no access key in {}", data.display()))?
        }
    };
    let lines = [
        ("AWS_ENDPOINT_URL", endpoint.url.as_str()),
        ("AWS_DEFAULT_REGION", &endpoint.region),
        ("AWS_REGION", &endpoint.region),
        ("AWS_ACCESS_KEY_ID", &key.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &key.secret_access_key),
    ];
    let mut out = std::io::stdout().lock();
    for (name, value) in lines {
        writeln!(out, "export {name}={}", quoted(value))?;
    }
    // A token of another account's session would be sent along and refused.
    writeln!(out, "unset AWS_SESSION_TOKEN AWS_PROFILE")?;
    Ok(())
}

/// The root key that the environment chooses.
pub(crate) fn chosen_key() -> Option<RootKey> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    Some(RootKey {
        access_key_id: variable("WHARF_ROOT_ACCESS_KEY_ID")?,
        secret_access_key: variable("WHARF_ROOT_SECRET_ACCESS_KEY")?,
    })
}

/// A word that every shell reads as it stands.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes() {
        assert_eq!(super::quoted("a'b c"), r"'a'\''b c'");
    }
}
