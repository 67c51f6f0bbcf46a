//! Replies to the byte, as the services write them.

use api::{ecr, ecs, logs, sts};
use std::collections::BTreeMap;
use wire::route::{Encoded, Route, encode_exception, encode_fault, encode_reply};
use wire::{Blob, Encode, Exception, Fault, Protocol, Service, Timestamp};

fn to(service: &'static Service, operation: &str, protocol: Protocol) -> Route {
    Route::new(service, service.operation(operation).unwrap(), protocol)
}

/// Status, headers and body, one below the other.
fn show(encoded: &Encoded) -> String {
    let headers: String = encoded.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let body = String::from_utf8(encoded.body.clone()).unwrap();
    format!("{}\n{headers}\n{body}", encoded.status)
}

fn reply(route: &Route, reply: &dyn Encode) -> String {
    show(&encode_reply(route, "11111111-2222-3333-4444-555555555555", reply))
}

#[test]
fn ecs_describe_tasks() {
    let route = to(&ecs::SERVICE, "DescribeTasks", Protocol::Json11);
    let task = ecs::Task {
        task_arn: Some(
            "arn:aws:ecs:us-east-1:123456789012:task/default/0123456789abcdef0123456789abcdef".to_owned(),
        ),
        last_status: Some("RUNNING".to_owned()),
        launch_type: Some(ecs::LaunchType::Fargate),
        created_at: Some(Timestamp(1_712_345_678_123)),
        started_at: Some(Timestamp(1_712_345_680_000)),
        version: Some(3),
        containers: Some(vec![ecs::Container {
            name: Some("web".to_owned()),
            exit_code: Some(137),
            ..Default::default()
        }]),
        tags: Some(Vec::new()),
        ..Default::default()
    };
    let response = ecs::DescribeTasksResponse { tasks: Some(vec![task]), failures: Some(Vec::new()) };
    insta::assert_snapshot!(reply(&route, &response));
}

#[test]
fn ecs_in_cbor() {
    let route = to(&ecs::SERVICE, "ListClusters", Protocol::Cbor);
    let response = ecs::ListClustersResponse {
        cluster_arns: Some(vec!["arn:aws:ecs:us-east-1:123456789012:cluster/default".to_owned()]),
        next_token: None,
    };
    let encoded = encode_reply(&route, "r", &response);
    assert_eq!(wire::cbor::from_slice::<ecs::ListClustersResponse>(&encoded.body), Ok(response));
    assert!(encoded.headers.contains(&("content-type", "application/cbor".to_owned())));
    assert!(encoded.headers.contains(&("smithy-protocol", "rpc-v2-cbor".to_owned())));
}

#[test]
fn ecr_create_repository() {
    let route = to(&ecr::SERVICE, "CreateRepository", Protocol::Json11);
    let repository = ecr::Repository {
        repository_arn: Some("arn:aws:ecr:us-east-1:123456789012:repository/team/web".to_owned()),
        repository_name: Some("team/web".to_owned()),
        created_at: Some(Timestamp(1_712_345_678_100)),
        image_scanning_configuration: Some(ecr::ImageScanningConfiguration { scan_on_push: Some(false) }),
        ..Default::default()
    };
    insta::assert_snapshot!(reply(&route, &ecr::CreateRepositoryResponse { repository: Some(repository) }));
}

#[test]
fn logs_create_log_group_has_no_body() {
    let route = to(&logs::SERVICE, "CreateLogGroup", Protocol::Json11);
    insta::assert_snapshot!(reply(&route, &BTreeMap::<String, String>::new()));
}

#[test]
fn sts_assume_role() {
    let route = to(&sts::SERVICE, "AssumeRole", Protocol::Query);
    let response = sts::AssumeRoleResponse {
        credentials: Some(sts::Credentials {
            access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "a/b+c<d>&".to_owned(),
            session_token: "token".to_owned(),
            expiration: Timestamp(1_712_345_678_000),
        }),
        assumed_role_user: Some(sts::AssumedRoleUser {
            arn: "arn:aws:sts::123456789012:assumed-role/deploy/ci".to_owned(),
            assumed_role_id: "AROAEXAMPLE:ci".to_owned(),
        }),
        packed_policy_size: Some(6),
        ..Default::default()
    };
    insta::assert_snapshot!(reply(&route, &response));
}

fn exception(route: &Route, exception: &dyn Exception) -> String {
    show(&encode_exception(route, "11111111-2222-3333-4444-555555555555", exception))
}

#[test]
fn exceptions() {
    let ecs = to(&ecs::SERVICE, "RunTask", Protocol::Json11);
    let not_found = ecs::Error::from(ecs::ClusterNotFoundException::new("Cluster not found."));
    let server = ecs::Error::from(ecs::ServerException::new("Service Unavailable. Please try again later."));
    let ecr = to(&ecr::SERVICE, "UploadLayerPart", Protocol::Json11);
    let part = ecr::Error::from(ecr::InvalidLayerPartException {
        last_valid_byte_received: Some(4095),
        upload_id: Some("u-1".to_owned()),
        ..ecr::InvalidLayerPartException::new("Part is not consecutive.")
    });
    let sts = to(&sts::SERVICE, "AssumeRole", Protocol::Query);
    let policy = sts::Error::from(sts::MalformedPolicyDocumentException::new("Syntax errors in policy."));
    let texts = [
        exception(&ecs, &not_found),
        exception(&ecs, &server),
        exception(&ecr, &part),
        exception(&sts, &policy),
    ];
    insta::assert_snapshot!(texts.join("\n\n---\n"));
}

#[test]
fn faults() {
    let fault = |service, operation, protocol, fault: &Fault| {
        show(&encode_fault(&to(service, operation, protocol), "11111111-2222-3333-4444-555555555555", fault))
    };
    let texts = [
        fault(&ecs::SERVICE, "RunTask", Protocol::Json11, &Fault::unrecognized_client()),
        fault(&ecs::SERVICE, "RunTask", Protocol::Json11, &Fault::unknown_operation()),
        fault(&ecr::SERVICE, "PutImage", Protocol::Json11, &Fault::throttling()),
        fault(
            &sts::SERVICE,
            "AssumeRole",
            Protocol::Query,
            &Fault::access_denied("User: a is not authorized"),
        ),
        fault(&sts::SERVICE, "AssumeRole", Protocol::Query, &Fault::expired_token()),
    ];
    insta::assert_snapshot!(texts.join("\n\n---\n"));
}

/// What a request that breaks the model is answered, service by service.
#[test]
fn violations() {
    let refuse = |service: &'static Service, operation: &str, protocol, body: &str| {
        let route = to(service, operation, protocol);
        let read = |reader: &mut dyn wire::Reader| match service.name {
            "ecs" => ecs::Request::read(route.operation, reader).map(drop),
            "ecr" => ecr::Request::read(route.operation, reader).map(drop),
            "logs" => logs::Request::read(route.operation, reader).map(drop),
            _ => sts::Request::read(route.operation, reader).map(drop),
        };
        wire::route::decode_request(&route, body.as_bytes(), read).unwrap_err().to_string()
    };
    let json = Protocol::Json11;
    let texts = [
        refuse(&ecs::SERVICE, "RunTask", json, r#"{"count":1}"#),
        refuse(&ecs::SERVICE, "RunTask", json, r#"{"taskDefinition":"web","launchType":"MOON"}"#),
        refuse(&ecs::SERVICE, "RunTask", json, r#"{"taskDefinition":7}"#),
        refuse(&ecs::SERVICE, "RunTask", json, r#"{"taskDefinition":"web","count":"2"}"#),
        refuse(&ecr::SERVICE, "DescribeRepositories", json, r#"{"maxResults":1001}"#),
        refuse(&ecr::SERVICE, "CreateRepository", json, r#"{"repositoryName":"UPPER"}"#),
        refuse(&logs::SERVICE, "CreateLogStream", json, r#"{"logGroupName":"a","logStreamName":"a:b"}"#),
        refuse(&sts::SERVICE, "AssumeRole", Protocol::Query, "RoleArn=short&RoleSessionName=ci"),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn blobs_are_base64() {
    let request =
        ecr::UploadLayerPartRequest { layer_part_blob: Blob(vec![0, 1, 254, 255]), ..Default::default() };
    let text = String::from_utf8(wire::json::to_vec(&request)).unwrap();
    assert!(text.contains(r#""layerPartBlob":"AAH+/w==""#), "{text}");
}
