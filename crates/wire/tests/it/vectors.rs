//! botocore's protocol vectors: their requests are routed and decoded, their results encoded.

use crate::dynamic::{Typed, Value};
use crate::model::{Shapes, value};
use crate::xml_tree;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use wire::route::{Encoded, Route, decode_request, encode_exception, encode_reply, route};
use wire::sigv4::Parts;
use wire::{Decode, Document, Operation, Protocol, Service};

/// Requests that say nothing about decoding, and why.
const SKIPPED_INPUTS: &[(&str, &str)] = &[
    (
        "SDKAppliedContentEncoding_",
        "about the client's compressor: no served API has the requestCompression trait",
    ),
    ("SDKAppendsGzip", "about the client's compressor: no served API has the requestCompression trait"),
    (
        "QueryProtocolIdempotencyTokenAutoFill",
        "the client invents the token, so that it is not in the parameters",
    ),
    (
        "Ec2ProtocolIdempotencyTokenAutoFill",
        "the client invents the token, so that it is not in the parameters",
    ),
];

/// Replies that our own encoding cannot or must not equal, and why. They are read back all the same.
const OTHER_FORMS: &[(&str, &str)] = &[
    ("DateTimeWithNegativeOffset", "another notation of the moment; ours ends in Z"),
    ("DateTimeWithPositiveOffset", "another notation of the moment; ours ends in Z"),
    ("handles_unexpected_json_output", "has a member that the model lacks"),
    ("HandlesUnexpectedJsonOutput", "has a member that the model lacks"),
    ("service_responds_with_no_payload", "no body at all, where ours is an empty object"),
    ("ServiceRespondsWithNoPayload", "no body at all, where ours is an empty object"),
    ("DeserializeIgnoreType", "has a __type inside a union"),
    ("DontDeserializeNullValues", "has an explicit null"),
    ("AwsJson10DeserializeAllowNulls", "has explicit nulls"),
    ("FooErrorUsingXAmznErrorType", "the code stands in the header only"),
    ("FooErrorUsingCode", "the code stands in another member"),
    ("Ec2ComplexError", "has a message that the error's shape lacks"),
    ("DunderTypeUriAndNamespace", "the code has a URI after it"),
];

/// Replies that botocore's own runner ignores or that contradict their own model, and why.
const SKIPPED_OUTPUTS: &[(&str, &str)] = &[
    ("RpcV2CborPayloadWithUnsetUnion", "the body belongs to another vector's shape and the result is empty"),
    ("NoInputAndNoOutput", "says only that clients must not mind a body"),
];

/// Whether a case is on a list, whose entries name parts of ids.
fn listed(list: &[(&str, &str)], id: &str) -> bool {
    list.iter().any(|(entry, _)| id.contains(entry))
}

struct Suite {
    file: &'static str,
    json: Json,
    protocol: Protocol,
}

fn suites(file: &'static str) -> Vec<Suite> {
    let path = format!("{}/tests/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let Json::Array(suites) = serde_json::from_str(&text).unwrap() else { panic!("{path}") };
    let protocol =
        |json: &Json| match (json["metadata"]["protocol"].as_str(), json["metadata"]["jsonVersion"].as_str())
        {
            (Some("json"), Some("1.0")) => Protocol::Json10,
            (Some("json"), _) => Protocol::Json11,
            (Some("query"), _) => Protocol::Query,
            (Some("ec2"), _) => Protocol::Ec2,
            (Some("smithy-rpc-v2-cbor"), _) => Protocol::Cbor,
            other => panic!("{other:?}"),
        };
    suites.into_iter().map(|json| Suite { file, protocol: protocol(&json), json }).collect()
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn shape_name(reference: &Json) -> Option<&str> {
    reference["shape"].as_str()
}

/// A service with the one operation of a case.
fn service(suite: &Suite, case: &Json) -> &'static Service {
    let metadata = &suite.json["metadata"];
    let text = |json: &Json| json.as_str().map(|text| &**leak(text.to_owned()));
    let shapes = Shapes::new(&suite.json["shapes"]);
    let given = &case["given"];
    let operation = Operation {
        name: text(&given["name"]).unwrap(),
        input: Some(shapes.ty(shape_name(&given["input"])).structure()),
        output: shape_name(&given["output"]).map(|name| shapes.ty(Some(name)).structure()),
        result_wrapper: text(&given["output"]["resultWrapper"]),
        errors: &[],
    };
    leak(Service {
        name: "vectors",
        signing_name: "vectors",
        api_version: text(&metadata["apiVersion"]).unwrap(),
        target_prefix: Some(text(&metadata["targetPrefix"]).unwrap_or("Vectors")),
        protocols: leak(vec![suite.protocol]),
        xml_namespace: None,
        operations: leak(vec![operation]),
    })
}

fn body(suite: &Suite, json: &Json) -> Vec<u8> {
    let text = json.as_str().unwrap_or_default();
    match suite.protocol {
        Protocol::Cbor => STANDARD.decode(text).unwrap(),
        _ => text.as_bytes().to_vec(),
    }
}

fn check_input(suite: &Suite, case: &Json) {
    let id = case["id"].as_str().unwrap();
    let serialized = &case["serialized"];
    let mut request = http::Request::builder().method("POST").uri(serialized["uri"].as_str().unwrap());
    for (name, value) in serialized["headers"].as_object().into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap());
    }
    // Some vectors state only the headers that they are about.
    let is_json = matches!(suite.protocol, Protocol::Json10 | Protocol::Json11);
    if is_json && serialized["headers"]["X-Amz-Target"].is_null() {
        let prefix = suite.json["metadata"]["targetPrefix"].as_str().unwrap_or("Vectors");
        request =
            request.header("x-amz-target", format!("{prefix}.{}", case["given"]["name"].as_str().unwrap()));
    }
    if is_json && serialized["headers"]["Content-Type"].is_null() {
        let version = suite.json["metadata"]["jsonVersion"].as_str().unwrap();
        request = request.header("content-type", format!("application/x-amz-json-{version}"));
    }
    if matches!(suite.protocol, Protocol::Query | Protocol::Ec2)
        && serialized["headers"]["Content-Type"].is_null()
    {
        request = request.header("content-type", "application/x-www-form-urlencoded");
    }
    let request = request.body(()).unwrap();
    let parts = Parts {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        headers: request.headers(),
    };
    let service = service(suite, case);
    let body = body(suite, &serialized["body"]);
    let route =
        route(&[service], &parts, &body).unwrap_or_else(|fault| panic!("{} {id}: {fault}", suite.file));
    assert_eq!(route.protocol, suite.protocol, "{id}");
    let shapes = Shapes::new(&suite.json["shapes"]);
    let ty = shapes.ty(shape_name(&case["given"]["input"]));
    let decoded = decode_request(&route, &body, |reader| Value::read(reader, ty));
    let mut expected = value(&case["params"], ty);
    if matches!(suite.protocol, Protocol::Query | Protocol::Ec2) {
        forget_empty(&mut expected, suite.protocol);
    }
    assert_eq!(decoded, Ok(expected), "{} {id}", suite.file);
}

/// What a form body cannot say: an empty map, and in ec2Query an empty list.
fn forget_empty(value: &mut Value, protocol: Protocol) {
    if let Value::Structure(members) = value {
        members.retain(|_, member| match member {
            Value::List(items) => protocol == Protocol::Query || !items.is_empty(),
            Value::Map(entries) => !entries.is_empty(),
            _ => true,
        });
    }
}

#[test]
fn requests_are_routed_and_decoded() {
    let files = [
        "input-json",
        "input-json_1_0",
        "input-json_1_0-query-compatible",
        "input-query",
        "input-ec2",
        "input-smithy-rpc-v2-cbor",
        "input-smithy-rpc-v2-cbor-query-compatible",
        "input-smithy-rpc-v2-cbor-non-query-compatible",
    ];
    let mut checked = 0;
    for suite in files.into_iter().flat_map(suites) {
        for case in suite.json["cases"].as_array().unwrap() {
            if !listed(SKIPPED_INPUTS, case["id"].as_str().unwrap()) {
                check_input(&suite, case);
                checked += 1;
            }
        }
    }
    assert!(checked >= 140, "only {checked} of 160 cases were checked");
}

fn check_output(suite: &Suite, case: &Json) {
    let id = case["id"].as_str().unwrap();
    let shapes = Shapes::new(&suite.json["shapes"]);
    let headers = &case["response"]["headers"];
    let mut route = Route::new(service(suite, case), 0, suite.protocol);
    route.is_query_mode = headers["x-amzn-query-error"].is_string();
    let expected = body(suite, &case["response"]["body"]);
    if case["errorCode"].is_string() {
        // The code on the wire may differ from the shape's name; the operation lists one error.
        let ty = shapes.ty(shape_name(&case["given"]["errors"][0]));
        let exception = Typed { ty, value: value(&case["error"], ty) };
        let encoded = encode_exception(&route, "foo-id", &exception);
        // These model 402 and yet answer 400.
        if !id.starts_with("QueryCompatible") {
            assert_eq!(Some(u64::from(encoded.status)), case["response"]["status_code"].as_u64(), "{id}");
        }
        if let Some(header) = headers["x-amzn-query-error"].as_str() {
            assert!(
                encoded.headers.contains(&("x-amzn-query-error", header.to_owned())),
                "{id}: {encoded:?}"
            );
        }
        compare(suite, id, &exception, &encoded, &expected);
    } else {
        let ty = shapes.ty(shape_name(&case["given"]["output"]));
        let reply = Typed { ty, value: value(&case["result"], ty) };
        let encoded = encode_reply(&route, "requestid", &reply);
        assert_eq!(encoded.status, 200, "{id}");
        compare(suite, id, &reply, &encoded, &expected);
    }
}

fn compare(suite: &Suite, id: &str, reply: &Typed, encoded: &Encoded, expected: &[u8]) {
    let same_form = !listed(OTHER_FORMS, id);
    let read = |body: &[u8]| match suite.protocol {
        Protocol::Cbor => wire::cbor::read(body, |reader| Value::read(reader, reply.ty)).unwrap(),
        _ => wire::json::read(body, |reader| Value::read(reader, reply.ty)).unwrap(),
    };
    let document = |body: &[u8]| match suite.protocol {
        Protocol::Cbor => {
            type_name(wire::cbor::read(body, |reader| reader.document()).unwrap_or(Document::Null))
        }
        _ => type_name(wire::json::read(body, |reader| reader.document()).unwrap()),
    };
    match suite.protocol {
        Protocol::Query | Protocol::Ec2 => {
            let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
            let tree =
                |body: &[u8]| xml_tree::parse(&text(body)).without("ResponseMetadata").without("requestId");
            if same_form && !expected.is_empty() {
                assert_eq!(tree(&encoded.body), tree(expected), "{} {id}", suite.file);
            }
        }
        Protocol::Json10 | Protocol::Json11 | Protocol::Cbor => {
            assert_eq!(read(expected), reply.value, "{} {id}: theirs", suite.file);
            assert_eq!(read(&encoded.body), reply.value, "{} {id}: ours", suite.file);
            let is_error = reply.ty.structure().error.is_some();
            if same_form && (is_error || suite.protocol != Protocol::Cbor) {
                assert_eq!(document(&encoded.body), document(expected), "{} {id}", suite.file);
            }
        }
    }
}

/// A JSON body with plain floats, and its `__type` without the namespace that clients ignore.
fn type_name(mut document: Document) -> Document {
    if let Some(Json::String(name)) = document.get_mut("__type")
        && let Some((_, bare)) = name.split_once('#')
    {
        *name = bare.to_owned();
    }
    document
}

#[test]
fn results_are_encoded() {
    let files = [
        "output-json",
        "output-json_1_0",
        "output-json_1_0-query-compatible",
        "output-query",
        "output-ec2",
        "output-smithy-rpc-v2-cbor",
        "output-smithy-rpc-v2-cbor-query-compatible",
    ];
    let mut checked = 0;
    for suite in files.into_iter().flat_map(suites) {
        for case in suite.json["cases"].as_array().unwrap() {
            if !listed(SKIPPED_OUTPUTS, case["id"].as_str().unwrap()) {
                check_output(&suite, case);
                checked += 1;
            }
        }
    }
    assert!(checked >= 190, "only {checked} of 196 cases were checked");
}
