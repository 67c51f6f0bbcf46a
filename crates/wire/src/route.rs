//! From a request's line, headers and body to an API, an operation and a protocol; and the way back.

pub use crate::reply::{Encoded, encode_exception, encode_fault, encode_reply};

use crate::decode::{DecodeError, Reader};
use crate::query::{self, Dialect};
use crate::shape::Operation;
use crate::sigv4::{self, Parts};
use crate::{Fault, Malformed, Protocol, Service, cbor, form, json, reply};

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Route {
    pub service: &'static Service,
    /// The index in [`Service::operations`].
    pub operation: usize,
    pub protocol: Protocol,
    /// The client asked for awsQuery's error codes in a header, because it used to speak awsQuery.
    pub is_query_mode: bool,
    /// The parameters of a GET, which has no body.
    parameters: Option<String>,
}

impl Route {
    /// A route that no request's line and headers led to, such as a test's.
    pub fn new(service: &'static Service, operation: usize, protocol: Protocol) -> Self {
        Self { service, operation, protocol, is_query_mode: false, parameters: None }
    }

    /// The operation's model.
    pub fn model(&self) -> &'static Operation {
        &self.service.operations[self.operation]
    }
}

/// Finds the operation that a request names. Of the body, only form bodies are looked at.
pub fn route(services: &[&'static Service], parts: &Parts<'_>, body: &[u8]) -> Result<Route, Fault> {
    let is_query_mode =
        header(parts, "x-amzn-query-mode").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let found = |(service, operation): (&'static Service, usize), protocol| {
        Ok(Route { service, operation, protocol, is_query_mode, parameters: None })
    };
    match guess(parts) {
        Protocol::Cbor => {
            found(by_path(services, parts).ok_or_else(Fault::unknown_operation)?, Protocol::Cbor)
        }
        protocol @ (Protocol::Json10 | Protocol::Json11) => {
            found(by_target(services, parts).ok_or_else(Fault::unknown_operation)?, protocol)
        }
        Protocol::Query | Protocol::Ec2 if parts.method == "GET" => {
            let (service, operation, protocol) = by_action(services, parts, parts.query.as_bytes())?;
            let parameters = Some(parts.query.to_owned());
            Ok(Route { parameters, ..found((service, operation), protocol)? })
        }
        Protocol::Query | Protocol::Ec2 => {
            let (service, operation, protocol) = by_action(services, parts, body)?;
            found((service, operation), protocol)
        }
    }
}

/// The protocol that a request speaks, whether or not it can be routed.
fn guess(parts: &Parts<'_>) -> Protocol {
    if header(parts, "smithy-protocol") == Some("rpc-v2-cbor") {
        return Protocol::Cbor;
    }
    let media_type = header(parts, "content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if media_type == "application/x-amz-json-1.0" {
        return Protocol::Json10;
    }
    let has_action = || parts.query.split('&').any(|pair| pair.starts_with("Action="));
    let is_form = media_type == "application/x-www-form-urlencoded" || has_action();
    if is_form && header(parts, "x-amz-target").is_none() { Protocol::Query } else { Protocol::Json11 }
}

fn header<'a>(parts: &Parts<'a>, name: &str) -> Option<&'a str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}

/// `/service/SERVICE/operation/OPERATION`, of Smithy RPC v2; the service goes by the name of its target prefix.
fn by_path(services: &[&'static Service], parts: &Parts<'_>) -> Option<(&'static Service, usize)> {
    // A prefix is allowed: clients may be configured with an endpoint that has a path.
    let (before, operation) = parts.path.rsplit_once("/operation/")?;
    let (_, name) = before.rsplit_once("/service/")?;
    let service = services.iter().find(|service| service.target_prefix.unwrap_or(service.name) == name)?;
    let speaks = service.protocols.contains(&Protocol::Cbor) && parts.method == "POST";
    service.operation(operation).filter(|_| speaks).map(|operation| (*service, operation))
}

/// `X-Amz-Target: PREFIX.OPERATION`.
fn by_target(services: &[&'static Service], parts: &Parts<'_>) -> Option<(&'static Service, usize)> {
    let (prefix, operation) = header(parts, "x-amz-target")?.rsplit_once('.')?;
    let service = services.iter().find(|service| service.target_prefix == Some(prefix))?;
    service.operation(operation).filter(|_| parts.method == "POST").map(|operation| (*service, operation))
}

/// `Action=OPERATION&Version=VERSION`. Services that share a version are told apart by the credential scope.
fn by_action(
    services: &[&'static Service],
    parts: &Parts<'_>,
    form: &[u8],
) -> Result<(&'static Service, usize, Protocol), Fault> {
    let pairs = form::pairs(form)?;
    let find = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
    let action = find("Action").ok_or_else(Fault::missing_action)?;
    let version = find("Version").unwrap_or_default();
    let scope = sigv4::scope_service(parts);
    let candidates = services.iter().filter_map(|service| {
        let protocol = service.protocols.iter().find(|p| matches!(p, Protocol::Query | Protocol::Ec2))?;
        // A client may leave the version out if the scope says which service it means.
        let in_scope = scope.as_deref() == Some(service.signing_name);
        let matches = service.api_version == version || (version.is_empty() && in_scope);
        Some((in_scope, *service, service.operation(action)?, *protocol)).filter(|_| matches)
    });
    let best = candidates.min_by_key(|(in_scope, ..)| !in_scope);
    let (_, service, operation, protocol) = best.ok_or_else(|| Fault::invalid_action(action, version))?;
    Ok((service, operation, protocol))
}

/// Reads the routed operation's input with a function such as a generated `Request::read`.
pub fn decode_request<T>(
    route: &Route,
    body: &[u8],
    read: impl FnOnce(&mut dyn Reader) -> Result<T, Malformed>,
) -> Result<T, Fault> {
    let form = route.parameters.as_ref().map_or(body, |parameters| parameters.as_bytes());
    let decoded = match route.protocol {
        Protocol::Json10 | Protocol::Json11 => json::read(body, read),
        Protocol::Cbor => cbor::read(body, read),
        Protocol::Query => query::read(form, Dialect::Query, read),
        Protocol::Ec2 => query::read(form, Dialect::Ec2, read),
    };
    decoded.map_err(|error| match error {
        DecodeError::Malformed(malformed) => malformed.into(),
        DecodeError::Invalid(violations) => Fault::validation(route.service, &violations),
    })
}

/// A fault of a request that could not be routed, in the protocol that it seems to speak.
pub fn encode_unrouted(parts: &Parts<'_>, request_id: &str, fault: &Fault) -> Encoded {
    reply::encode_bare(guess(parts), None, request_id, fault)
}

/// A query string's names and values, decoded; a text whose escapes are broken is left as it is.
pub fn query_parameters(query: &str) -> Vec<(String, String)> {
    form::parameters(query)
}

#[cfg(test)]
mod tests;
