//! The exceptions of CloudWatch Logs, which carry a text on the wire though their models have no member for it.

use crate::call::{ApiError, fault};

pub(super) fn invalid(text: &str) -> ApiError {
    fault(400, "InvalidParameterException", text)
}

pub(super) fn group_not_found() -> ApiError {
    fault(400, "ResourceNotFoundException", "The specified log group does not exist.")
}

pub(super) fn stream_not_found() -> ApiError {
    fault(400, "ResourceNotFoundException", "The specified log stream does not exist.")
}

pub(super) fn group_exists() -> ApiError {
    fault(400, "ResourceAlreadyExistsException", "The specified log group already exists")
}

pub(super) fn stream_exists() -> ApiError {
    fault(400, "ResourceAlreadyExistsException", "The specified log stream already exists")
}

pub(super) fn too_many_tags() -> ApiError {
    fault(400, "TooManyTagsException", "A resource can have no more than 50 tags.")
}

pub(super) fn invalid_token(_: crate::page::InvalidToken) -> ApiError {
    invalid("The specified nextToken is invalid.")
}
