//! The two exceptions that most refusals of ECS are.

use api::ecs::{ClientException, Error, InvalidParameterException};

/// ClientException: what RegisterTaskDefinition and its kin answer.
pub(super) fn client(text: impl Into<String>) -> Error {
    ClientException::new(text).into()
}

/// InvalidParameterException: what most other operations answer.
pub(super) fn invalid(text: impl Into<String>) -> Error {
    InvalidParameterException::new(text).into()
}

/// The size of a page: `maxResults` of 1 to `most`, which is also the default (ecs API reference, the List operations).
pub(super) fn page_size(max_results: Option<i32>, most: usize) -> Result<usize, Error> {
    match max_results.map(usize::try_from) {
        None => Ok(most),
        Some(Ok(size)) if (1..=most).contains(&size) => Ok(size),
        Some(_) => Err(invalid(format!("maxResults must be between 1 and {most}."))),
    }
}

/// A token that the list did not give out, or gave out with other filters.
pub(super) fn invalid_token(_: crate::page::InvalidToken) -> Error {
    invalid("Invalid token.")
}

/// Whether a name is 1 to 255 letters, digits, hyphens and underscores: clusters, families, containers, volumes.
pub(super) fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
