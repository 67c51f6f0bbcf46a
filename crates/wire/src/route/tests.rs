//! From requests to operations, and the envelopes of replies.

use super::*;
use crate::{ErrorTraits, Exception, Member, Operation, operations, shape, structure};

structure! { GreetRequest { name: req String = Member::new("name", &shape::STRING, true) } }
structure! { GreetResponse { greeting: opt String = Member::new("greeting", &shape::STRING, false) } }
structure! { ColdException {
    message: opt String = Member::new("message", &shape::STRING, false),
    degrees: opt i32 = Member::new("degrees", &shape::INTEGER, false),
} as ErrorTraits { code: "Cold", status: 409, fault: false } }
#[allow(dead_code)]
mod errors {
    use super::ColdException;
    crate::exceptions! { ColdException(message) }
}
use errors::Error;

const JSON: Service = Service {
    name: "greeter",
    signing_name: "greet",
    api_version: "2026-01-01",
    target_prefix: Some("Greeter_V2026"),
    protocols: &[Protocol::Json11, Protocol::Cbor],
    xml_namespace: None,
    operations: &[],
};

#[allow(dead_code)]
mod json_api {
    use super::*;
    operations! { JSON; Greet(GreetRequest) -> GreetResponse = Operation { name: "Greet", input: Some(GreetRequest::SCHEMA), output: Some(GreetResponse::SCHEMA), result_wrapper: Some("GreetResult"), errors: &[] } }
}

#[allow(dead_code)]
mod query_api {
    use super::*;
    operations! { Service { name: "q", signing_name: "queries", protocols: &[Protocol::Query], target_prefix: None, xml_namespace: Some("https://q/"), ..JSON }; Greet(GreetRequest) -> GreetResponse = Operation { name: "Greet", input: Some(GreetRequest::SCHEMA), output: Some(GreetResponse::SCHEMA), result_wrapper: Some("GreetResult"), errors: &[] } }
}

#[allow(dead_code)]
mod ec2_api {
    use super::*;
    operations! { Service { name: "e", signing_name: "machines", protocols: &[Protocol::Ec2], target_prefix: None, ..JSON }; Greet(GreetRequest) -> GreetResponse = Operation { name: "Greet", input: Some(GreetRequest::SCHEMA), output: Some(GreetResponse::SCHEMA), result_wrapper: None, errors: &[] } }
}

static SERVICES: &[&Service] = &[&json_api::SERVICE, &query_api::SERVICE, &ec2_api::SERVICE];

fn request(method: &str, target: &str, headers: &[(&'static str, &str)]) -> http::Request<()> {
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn parts(request: &http::Request<()>) -> Parts<'_> {
    let uri = request.uri();
    Parts {
        method: request.method().as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers: request.headers(),
    }
}

/// Routes, decodes and answers as a service that greets by name and finds it cold for those without.
fn serve(request: &http::Request<()>, body: &str) -> (u16, String) {
    let parts = parts(request);
    let encoded = match route(SERVICES, &parts, body.as_bytes()) {
        Err(fault) => encode_unrouted(&parts, "id-1", &fault),
        Ok(route) => match decode_request(&route, body.as_bytes(), |reader| {
            json_api::Request::read(route.operation, reader)
        }) {
            Err(fault) => encode_fault(&route, "id-1", &fault),
            Ok(json_api::Request::Greet(greet)) if greet.name.is_empty() => {
                let exception = ColdException { degrees: Some(-3), ..ColdException::new("Brr & so on") };
                let exception: &dyn Exception = &Error::from(exception);
                encode_exception(&route, "id-1", exception)
            }
            Ok(json_api::Request::Greet(greet)) => {
                let reply = GreetResponse {
                    greeting: Some(format!("{}, hello from {}", greet.name, route.service.name)),
                };
                encode_reply(&route, "id-1", &reply)
            }
        },
    };
    assert!(encoded.headers.contains(&("x-amzn-requestid", "id-1".to_owned())));
    (
        encoded.status,
        String::from_utf8(encoded.body).unwrap_or_else(|error| format!("{:x?}", error.as_bytes())),
    )
}

const DATE: (&str, &str) = ("x-amz-date", "20260101T000000Z");
const TARGET: (&str, &str) = ("x-amz-target", "Greeter_V2026.Greet");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
const MACHINES: (&str, &str) = (
    "authorization",
    "AWS4-HMAC-SHA256 Credential=A/20260101/r/machines/aws4_request, SignedHeaders=host, Signature=00",
);

#[test]
fn json_requests_go_by_their_target() {
    let json = request("POST", "/", &[TARGET, ("content-type", "application/x-amz-json-1.1")]);
    assert_eq!(
        serve(&json, r#"{"name":"Ada"}"#),
        (200, r#"{"greeting":"Ada, hello from greeter"}"#.to_owned())
    );
    let cold = r#"{"__type":"ColdException","message":"Brr & so on","degrees":-3}"#;
    assert_eq!(serve(&json, r#"{"name":""}"#), (409, cold.to_owned()));
    let text =
        r#"{"__type":"SerializationException","message":"NUMBER_VALUE cannot be converted to String"}"#;
    assert_eq!(serve(&json, r#"{"name":1}"#), (400, text.to_owned()));
    let text = r#"{"__type":"ValidationException","message":"1 validation error detected: Value at 'name' failed to satisfy constraint: Member must not be null"}"#;
    assert_eq!(serve(&json, "{}"), (400, text.to_owned()));
    for (name, value) in [
        ("x-amz-target", "Greeter_V2026.Leave"),
        ("x-amz-target", "X.Greet"),
        ("x-amz-target", "Greet"),
        ("a", "b"),
    ] {
        let text = r#"{"__type":"UnknownOperationException"}"#;
        assert_eq!(serve(&request("POST", "/", &[(name, value)]), "{}"), (400, text.to_owned()), "{value}");
    }
    assert_eq!(serve(&request("GET", "/", &[TARGET]), "").0, 400);
}

#[test]
fn query_requests_go_by_action_version_and_scope() {
    let query = request("POST", "/", &[FORM]);
    let text = "<GreetResponse xmlns=\"https://q/\"><GreetResult><greeting>Ada, hello from q</greeting></GreetResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></GreetResponse>";
    let scoped = request(
        "POST",
        "/",
        &[
            FORM,
            DATE,
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=A/20260101/r/queries/aws4_request, SignedHeaders=host, Signature=00",
            ),
        ],
    );
    assert_eq!(serve(&scoped, "Action=Greet&Version=2026-01-01&name=Ada"), (200, text.to_owned()));
    let got = request(
        "GET",
        "/?Action=Greet&Version=2026-01-01&name=Ada&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20260101%2Fr%2Fqueries%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=00&X-Amz-Expires=60",
        &[],
    );
    assert_eq!(serve(&got, ""), (200, text.to_owned()));
    let text = "<ErrorResponse xmlns=\"https://q/\"><Error><Type>Sender</Type><Code>Cold</Code><Message>Brr &amp; so on</Message><degrees>-3</degrees></Error><RequestId>id-1</RequestId></ErrorResponse>";
    assert_eq!(serve(&scoped, "Action=Greet&Version=2026-01-01&name="), (409, text.to_owned()));
    let text = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidAction</Code><Message>Could not find operation Leave for version 2026-01-01</Message></Error><RequestId>id-1</RequestId></ErrorResponse>";
    assert_eq!(serve(&query, "Action=Leave&Version=2026-01-01"), (400, text.to_owned()));
    assert!(serve(&query, "Action=Greet&Version=2025-01-01").1.contains("<Code>InvalidAction</Code>"));
    assert!(serve(&query, "Version=2026-01-01").1.contains("<Code>MissingAction</Code>"));
    assert!(serve(&query, "Action=%zz").1.contains("<Code>MalformedInput</Code>"));
}

#[test]
fn ec2_requests_have_their_own_envelopes() {
    let ec2 = request("POST", "/", &[FORM, DATE, MACHINES]);
    let text =
        "<GreetResponse><requestId>id-1</requestId><greeting>Ada, hello from e</greeting></GreetResponse>";
    assert_eq!(serve(&ec2, "Action=Greet&Version=2026-01-01&Name=Ada"), (200, text.to_owned()));
    let text = "<Response><Errors><Error><Code>InvalidParameterValue</Code><Message>1 validation error detected: Value at 'name' failed to satisfy constraint: Member must not be null</Message></Error></Errors><RequestID>id-1</RequestID></Response>";
    assert_eq!(serve(&ec2, "Action=Greet&Version=2026-01-01"), (400, text.to_owned()));
}

#[test]
fn cbor_requests_go_by_their_path() {
    let protocol = ("smithy-protocol", "rpc-v2-cbor");
    let cbor = request("POST", "/service/Greeter_V2026/operation/Greet", &[protocol]);
    let (status, body) = serve(&cbor, "\u{f}");
    assert_eq!(status, 400, "{body}");
    let parts = parts(&cbor);
    let route = route(SERVICES, &parts, b"").unwrap();
    let body = b"\xa1\x64name\x63Ada";
    let read =
        decode_request(&route, body, |reader| json_api::Request::read(route.operation, reader)).unwrap();
    assert_eq!(read, json_api::Request::Greet(Box::new(GreetRequest { name: "Ada".to_owned() })));
    let fault = encode_fault(&route, "id-1", &Fault::throttling());
    assert_eq!(fault.body, b"\xbf\x66__type\x73ThrottlingException\x67message\x6dRate exceeded\xff");
    assert!(fault.headers.contains(&("smithy-protocol", "rpc-v2-cbor".to_owned())));
    for path in
        ["/service/Greeter_V2026/operation/Leave", "/service/X/operation/Greet", "/operation/Greet", "/"]
    {
        assert_eq!(serve(&request("POST", path, &[protocol]), "").0, 400, "{path}");
    }
}

#[test]
fn query_mode_adds_the_old_code() {
    let json = request("POST", "/", &[TARGET, ("x-amzn-query-mode", "true")]);
    let route = route(SERVICES, &parts(&json), b"").unwrap();
    let encoded = encode_exception(&route, "id-1", &Error::from(ColdException::new("Brr")));
    assert!(encoded.headers.contains(&("x-amzn-query-error", "Cold;Sender".to_owned())));
}
