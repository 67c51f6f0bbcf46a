//! A call of an AWS operation as the core sees it: who, where, what; and its answer.

use crate::core::Settings;
use crate::state::{AccountId, Scope};
use stdx::{Rng, Timestamp};
use wire::Fault;

/// Who calls: the identity behind the access key that signed the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub account: AccountId,
    /// `arn:aws:iam::ACCOUNT:root`, `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`, …
    pub arn: String,
    pub user_id: String,
}

/// A decoded request of any API.
#[derive(Clone, Debug, PartialEq)]
pub enum ApiRequest {
    Ecs(api::ecs::Request),
    Ecr(api::ecr::Request),
    Logs(api::logs::Request),
    Sts(api::sts::Request),
}

/// The reply of any API. One lives for the time of a call, so that the size of the largest does not matter.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a box for each reply would cost more")]
pub enum ApiResponse {
    Ecs(api::ecs::Response),
    Ecr(api::ecr::Response),
    Logs(api::logs::Response),
    Sts(api::sts::Response),
}

/// An exception of any API.
#[derive(Clone, Debug, PartialEq)]
pub enum ApiError {
    Ecs(api::ecs::Error),
    Ecr(api::ecr::Error),
    Logs(api::logs::Error),
    Sts(api::sts::Error),
    /// One that the operation's model does not list, or lists without a member for its text.
    Fault(Fault),
}

/// A fault with a text.
pub(crate) fn fault(status: u16, code: &'static str, text: &str) -> ApiError {
    ApiError::Fault(Fault::new(code, status, text))
}

macro_rules! sums {
    ($($api:ident $variant:ident),*) => { $(
        impl From<api::$api::Request> for ApiRequest {
            fn from(request: api::$api::Request) -> Self { Self::$variant(request) }
        }

        impl From<api::$api::Response> for ApiResponse {
            fn from(response: api::$api::Response) -> Self { Self::$variant(response) }
        }

        impl From<api::$api::Error> for ApiError {
            fn from(error: api::$api::Error) -> Self { Self::$variant(error) }
        }
    )*

        impl ApiRequest {
            /// The operation's name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(request) => request.name()),* }
            }
        }

        impl wire::Encode for ApiResponse {
            fn write(&self, writer: &mut dyn wire::Writer, ty: &'static wire::Type) {
                match self { $(Self::$variant(response) => response.write(writer, ty)),* }
            }
        }

        impl ApiError {
            /// What goes over the wire: a modelled exception, or a fault.
            pub fn into_exception(self) -> Result<Box<dyn wire::Exception + Send>, Fault> {
                match self {
                    $(Self::$variant(error) => Ok(Box::new(error)),)*
                    Self::Fault(fault) => Err(fault),
                }
            }

            /// The name on the wire.
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant(error) => {
                        let schema = wire::Exception::schema(error);
                        schema.error.map_or(schema.name, |traits| traits.code)
                    })*
                    Self::Fault(fault) => fault.code,
                }
            }

            /// The text for the user.
            pub fn message(&self) -> Option<&str> {
                match self {
                    $(Self::$variant(error) => wire::Exception::message(error),)*
                    Self::Fault(fault) => Some(&fault.message),
                }
            }
        }

        impl std::fmt::Display for ApiError {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self { $(Self::$variant(error) => error.fmt(f),)* Self::Fault(fault) => fault.fmt(f) }
            }
        }
    };
}

sums!(ecs Ecs, ecr Ecr, logs Logs, sts Sts);

/// A call with everything that decides its answer, apart from the state.
#[derive(Clone, Debug)]
pub struct Call {
    pub scope: Scope,
    pub principal: Principal,
    /// The id in `x-amzn-RequestId`.
    pub request_id: String,
    pub request: ApiRequest,
}

/// The exceptions in which an operation that is not built says so, the fittest first. Client errors, so that clients do
/// not try again; the model of each operation decides which it may answer.
const UNBUILT: &[&str] = &[
    "UnsupportedFeatureException",
    "UnsupportedOperationException",
    "ClientException",
    "InvalidParameterException",
    "InvalidOperationException",
    "ValidationException",
    "InvalidRequestException",
    "ResourceNotFoundException",
];

/// The answer of an operation that this version does not have.
pub(crate) fn unbuilt<E>(
    service: &wire::Service,
    operation: &str,
    named: impl Fn(&'static str, &str) -> Option<E>,
    otherwise: impl Fn(String) -> E,
) -> E {
    let text = format!("{operation} is not available in this version of Wharf.");
    let listed =
        service.operation(operation).map_or(&[] as &[&str], |index| service.operations[index].errors);
    UNBUILT
        .iter()
        .filter(|code| listed.contains(code))
        .find_map(|code| named(code, &text))
        .unwrap_or_else(|| otherwise(text))
}

/// What an operation may know besides its request and the state.
#[derive(Debug)]
pub struct Ctx<'a> {
    pub now: Timestamp,
    pub scope: Scope,
    pub principal: &'a Principal,
    pub settings: &'a Settings,
    /// For ids and choices; recorded with the step, so that a replay makes the same.
    pub rng: Rng,
    /// For keys and tokens; never recorded.
    pub secrets: Rng256,
}

impl Ctx<'_> {
    /// What everything beside operations needs of it.
    pub(crate) fn env(&mut self) -> Env<'_> {
        Env { now: self.now, settings: self.settings, rng: &mut self.rng, secrets: &mut self.secrets }
    }
}

/// What a step that is no call may know besides the state.
#[derive(Debug)]
pub struct Env<'a> {
    pub now: Timestamp,
    pub settings: &'a Settings,
    pub rng: &'a mut Rng,
    pub secrets: &'a mut Rng256,
}

/// Bytes from the operating system for secrets of one step, stretched as needed.
#[derive(Clone)]
pub struct Rng256 {
    seed: [u8; 32],
    taken: u64,
}

impl std::fmt::Debug for Rng256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng256(***)")
    }
}

impl Rng256 {
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, taken: 0 }
    }

    /// `length` characters of the alphabet, each equally likely to within 2⁻⁵⁶.
    pub fn text(&mut self, length: usize, alphabet: &[u8]) -> String {
        let mut out = String::with_capacity(length);
        while out.len() < length {
            let block = wire::sha256(&[self.seed.as_slice(), &self.taken.to_be_bytes()].concat());
            self.taken += 1;
            for word in block.chunks_exact(8) {
                let number = word.iter().fold(0_u64, |n, &b| n << 8 | u64::from(b));
                let index = usize::try_from(number % alphabet.len() as u64).unwrap_or(0);
                if out.len() < length {
                    out.push(char::from(alphabet[index]));
                }
            }
        }
        out
    }
}
