//! Errors that come before or around an operation: any API may answer them, and no model lists them all.
//!
//! Texts: "Common Errors" of the API references, and what the services were seen to answer.

use crate::{Malformed, Protocol, Service, Violation};

/// An error of the front end, as the JSON protocols name it; [`Fault::code`] and [`Fault::status`] know the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// As in `__type`.
    pub code: &'static str,
    pub status: u16,
    /// AWS's text; empty where AWS sends none.
    pub message: String,
}

/// One error in the JSON and CBOR protocols, awsQuery and ec2Query: codes, and the XML protocols' statuses.
struct Names {
    json: &'static str,
    query: (&'static str, u16),
    ec2: (&'static str, u16),
}

const fn names(json: &'static str, query: (&'static str, u16), ec2: (&'static str, u16)) -> Names {
    Names { json, query, ec2 }
}

/// Sources: "Common Errors" of the STS API reference for awsQuery, "Error codes for the Amazon EC2 API" for ec2Query.
const NAMES: &[Names] = &[
    names("AccessDeniedException", ("AccessDenied", 403), ("UnauthorizedOperation", 403)),
    names("UnrecognizedClientException", ("InvalidClientTokenId", 403), ("AuthFailure", 401)),
    names("InvalidSignatureException", ("SignatureDoesNotMatch", 403), ("AuthFailure", 401)),
    names(
        "MissingAuthenticationTokenException",
        ("MissingAuthenticationToken", 403),
        ("MissingAuthenticationToken", 403),
    ),
    names("IncompleteSignatureException", ("IncompleteSignature", 400), ("IncompleteSignature", 400)),
    names("ExpiredTokenException", ("ExpiredToken", 403), ("RequestExpired", 400)),
    names("ThrottlingException", ("Throttling", 400), ("RequestLimitExceeded", 503)),
    names("UnknownOperationException", ("InvalidAction", 400), ("InvalidAction", 400)),
    names("SerializationException", ("MalformedInput", 400), ("InvalidParameterValue", 400)),
    names("ValidationException", ("ValidationError", 400), ("InvalidParameterValue", 400)),
    names("ValidationError", ("ValidationError", 400), ("InvalidParameterValue", 400)),
    names("InternalFailure", ("InternalFailure", 500), ("InternalError", 500)),
    names("ServiceUnavailableException", ("ServiceUnavailable", 503), ("Unavailable", 503)),
];

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.message.as_str() {
            "" => f.write_str(self.code),
            message => write!(f, "{}: {message}", self.code),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::serialization(malformed.0)
    }
}

impl Fault {
    pub fn new(code: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into() }
    }

    /// Whether the server is at fault.
    pub fn is_server_fault(&self) -> bool {
        self.status >= 500
    }

    /// The code on the wire of a protocol.
    pub fn code(&self, protocol: Protocol) -> &'static str {
        self.named(protocol).0
    }

    /// The HTTP status: the JSON protocols answer 400 to whatever the client did, the XML ones distinguish.
    pub fn status(&self, protocol: Protocol) -> u16 {
        self.named(protocol).1
    }

    fn named(&self, protocol: Protocol) -> (&'static str, u16) {
        let names = NAMES.iter().find(|names| names.json == self.code);
        match (names, protocol) {
            (Some(names), Protocol::Query) => names.query,
            (Some(names), Protocol::Ec2) => names.ec2,
            _ => (self.code, self.status),
        }
    }

    pub fn access_denied(message: impl Into<String>) -> Self {
        Self::new("AccessDeniedException", 400, message)
    }

    /// The access key is unknown, or the session token is not the one issued with it.
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

    /// AWS's JSON front end gives no text for an operation it does not have.
    pub fn unknown_operation() -> Self {
        Self::new("UnknownOperationException", 400, "")
    }

    /// An awsQuery `Action` that no operation goes by.
    pub fn invalid_action(action: &str, version: &str) -> Self {
        let message = format!("Could not find operation {action} for version {version}");
        Self::new("UnknownOperationException", 400, message)
    }

    /// An awsQuery request without `Action`.
    pub fn missing_action() -> Self {
        Self::new("MissingAction", 400, "The request must contain the parameter Action.")
    }

    /// The body cannot be read.
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

    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new("ServiceUnavailableException", 503, message)
    }

    pub fn request_entity_too_large() -> Self {
        Self::new("RequestEntityTooLarge", 413, "Request body is too large.")
    }

    /// Broken constraints, as the service words them.
    pub fn validation(service: &Service, violations: &[Violation]) -> Self {
        match service.name {
            "ecr" => {
                let first = violations.first().map(Violation::ecr_sentence).unwrap_or_default();
                Self::new("InvalidParameterException", 400, first)
            }
            "ecs" | "logs" => Self::new("InvalidParameterException", 400, Violation::summary(violations)),
            _ => Self::new("ValidationException", 400, Violation::summary(violations)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &'static str) -> Service {
        Service {
            name,
            signing_name: name,
            api_version: "",
            target_prefix: None,
            protocols: &[],
            xml_namespace: None,
            operations: &[],
        }
    }

    fn violation(constraint: &str) -> Violation {
        Violation {
            path: "maxResults".to_owned(),
            value: Some("1001".to_owned()),
            constraint: constraint.to_owned(),
        }
    }

    #[test]
    fn services_word_violations_differently() {
        let violations = [
            violation("Member must have value less than or equal to 1000"),
            violation("Member must satisfy regular expression pattern: [a-z]+"),
        ];
        let text = |name, violations: &[Violation]| Fault::validation(&service(name), violations).to_string();
        assert_eq!(
            text("ecr", &violations),
            "InvalidParameterException: Invalid parameter at 'maxResults' failed to satisfy constraint: \
             'must be less than or equal to 1000'"
        );
        assert_eq!(
            text("ecr", &violations[1..]),
            "InvalidParameterException: Invalid parameter at 'maxResults' failed to satisfy constraint: \
             'must satisfy regular expression '[a-z]+''"
        );
        assert_eq!(
            text("logs", &violations[..1]),
            "InvalidParameterException: 1 validation error detected: Value '1001' at 'maxResults' failed to satisfy \
             constraint: Member must have value less than or equal to 1000"
        );
        assert!(
            text("events", &violations).starts_with("ValidationException: 2 validation errors detected: ")
        );
        assert_eq!(Fault::validation(&service("sts"), &violations).code(Protocol::Query), "ValidationError");
    }

    #[test]
    fn codes_and_statuses_differ_between_protocols() {
        let seen = |fault: Fault| {
            [Protocol::Json11, Protocol::Query, Protocol::Ec2].map(|p| (fault.code(p), fault.status(p)))
        };
        assert_eq!(
            seen(Fault::unrecognized_client()),
            [("UnrecognizedClientException", 400), ("InvalidClientTokenId", 403), ("AuthFailure", 401)]
        );
        assert_eq!(
            seen(Fault::access_denied("no")),
            [("AccessDeniedException", 400), ("AccessDenied", 403), ("UnauthorizedOperation", 403)]
        );
        assert_eq!(
            seen(Fault::internal_failure()),
            [("InternalFailure", 500), ("InternalFailure", 500), ("InternalError", 500)]
        );
    }
}
