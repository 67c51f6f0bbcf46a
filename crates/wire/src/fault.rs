//! Errors that come before or around an operation: any API may answer them, and no model lists them all.
//!
//! Texts: "Common Errors" of the API references, and what the services were seen to answer.

use crate::Violation;

/// An error of the front end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// As in `__type` and `<Code>`.
    pub code: &'static str,
    pub status: u16,
    pub message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}

impl Fault {
    pub fn new(code: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into() }
    }

    /// Whether the server is at fault.
    pub fn is_server_fault(&self) -> bool {
        self.status >= 500
    }

    pub fn access_denied(message: impl Into<String>) -> Self {
        Self::new("AccessDeniedException", 400, message)
    }

    pub fn unrecognized_client() -> Self {
        Self::new(
            "UnrecognizedClientException",
            400,
            "The security token included in the request is invalid.",
        )
    }

    pub fn expired_token() -> Self {
        Self::new("ExpiredTokenException", 400, "The security token included in the request is expired")
    }

    pub fn missing_authentication_token() -> Self {
        Self::new("MissingAuthenticationTokenException", 400, "Missing Authentication Token")
    }

    pub fn incomplete_signature(message: &str) -> Self {
        Self::new("IncompleteSignatureException", 400, message)
    }

    /// The clock, the scope or the signed headers are wrong.
    pub fn invalid_signature(message: &str) -> Self {
        Self::new("InvalidSignatureException", 400, message)
    }

    pub fn signature_does_not_match() -> Self {
        Self::invalid_signature(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
             Key and signing method. Consult the service documentation for details.",
        )
    }

    pub fn throttling() -> Self {
        Self::new("ThrottlingException", 400, "Rate exceeded")
    }

    pub fn unknown_operation() -> Self {
        Self::new("UnknownOperationException", 400, "")
    }

    pub fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", 400, message)
    }

    pub fn internal_failure() -> Self {
        Self::new(
            "InternalFailure",
            500,
            "The request processing has failed because of an unknown error, exception or failure.",
        )
    }

    pub fn request_entity_too_large() -> Self {
        Self::new("RequestEntityTooLarge", 413, "Request body is too large.")
    }

    /// Broken constraints, as the service of that name words them.
    pub fn validation(service: &str, violations: &[Violation]) -> Self {
        match service {
            "ecr" => {
                let first = violations.first().map(Violation::ecr_sentence).unwrap_or_default();
                Self::new("InvalidParameterException", 400, first)
            }
            "ecs" | "logs" => Self::new("InvalidParameterException", 400, counted(violations)),
            "sts" => Self::new("ValidationError", 400, counted(violations)),
            _ => Self::new("ValidationException", 400, counted(violations)),
        }
    }
}

/// `2 validation errors detected: …; …`.
fn counted(violations: &[Violation]) -> String {
    let sentences: Vec<String> = violations.iter().map(Violation::sentence).collect();
    let noun = if sentences.len() == 1 { "error" } else { "errors" };
    format!("{} validation {noun} detected: {}", sentences.len(), sentences.join("; "))
}
