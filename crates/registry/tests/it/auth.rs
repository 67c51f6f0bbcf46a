//! Who may come in, and what the others are told.

use crate::http_client::{bare, call};
use crate::server::Server;
use registry::Action;

#[tokio::test]
async fn no_credentials_get_ecrs_challenge() {
    let server = Server::start(&["demo"]).await;
    for path in ["/v2/", "/v2/demo/tags/list", "/v2/NO/SUCH/manifests/x"] {
        let answer =
            bare(server.address, "GET", path, &[("host", "123456789012.dkr.ecr.us-east-1.localhost:1")], "")
                .await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(
            answer.header("www-authenticate"),
            "Basic realm=\"https://123456789012.dkr.ecr.us-east-1.localhost:1/\",service=\"ecr.amazonaws.com\""
        );
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.text(), "Not Authorized\n");
    }
}

#[tokio::test]
async fn the_token_is_taken_as_basic_and_bearer() {
    let server = Server::start(&["demo"]).await;
    for header in ["Basic QVdTOnNlY3JldA==", "Bearer QVdTOnNlY3JldA==", "Bearer secret"] {
        let answer = bare(server.address, "GET", "/v2/", &[("authorization", header)], "").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "{}"), "{header}");
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    }
    // root:secret, AWS:wrong, garbage.
    for header in ["Basic cm9vdDpzZWNyZXQ=", "Basic QVdTOndyb25n", "Basic %%%", "Negotiate x", "Bearer wrong"]
    {
        let answer = bare(server.address, "GET", "/v2/", &[("authorization", header)], "").await;
        assert_eq!(answer.status, 401, "{header}");
    }
}

#[tokio::test]
async fn an_expired_token_and_another_region_are_told_apart() {
    let server = Server::start(&["demo"]).await;
    let answer = bare(server.address, "GET", "/v2/", &[("authorization", "Bearer expired")], "").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "DENIED"));
    assert_eq!(answer.message(), "Your authorization token has expired. Reauthenticate and try again.");
    let host = ("host", "123456789012.dkr.ecr.eu-west-1.amazonaws.com");
    assert_eq!(call(server.address, "GET", "/v2/", &[host], "").await.status, 401);
    let host = ("host", "123456789012.dkr.ecr.us-east-1.amazonaws.com");
    assert_eq!(call(server.address, "GET", "/v2/", &[host], "").await.status, 200);
}

#[tokio::test]
async fn each_request_is_authorized_as_its_ecr_action() {
    let server = Server::start(&["demo"]).await;
    let blob = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let upload = "/v2/demo/blobs/uploads/00000000-0000-4000-8000-000000000000";
    for (method, path, action) in [
        ("HEAD", format!("/v2/demo/blobs/{blob}"), Action::BatchCheckLayerAvailability),
        ("GET", format!("/v2/demo/blobs/{blob}"), Action::GetDownloadUrlForLayer),
        ("POST", "/v2/demo/blobs/uploads/".to_owned(), Action::InitiateLayerUpload),
        ("PATCH", upload.to_owned(), Action::UploadLayerPart),
        ("PUT", format!("{upload}?digest={blob}"), Action::CompleteLayerUpload),
        ("GET", "/v2/demo/manifests/x".to_owned(), Action::BatchGetImage),
        ("PUT", "/v2/demo/manifests/x".to_owned(), Action::PutImage),
        ("DELETE", "/v2/demo/manifests/x".to_owned(), Action::BatchDeleteImage),
        ("GET", "/v2/demo/tags/list".to_owned(), Action::ListImages),
        ("GET", format!("/v2/demo/referrers/{blob}"), Action::BatchGetImage),
        ("GET", "/v2/_catalog".to_owned(), Action::DescribeRepositories),
    ] {
        server.catalog.state().denied = Some(action);
        let answer = call(server.address, method, &path, &[], "").await;
        assert_eq!(answer.status, 403, "{method} {path}");
        if method != "HEAD" {
            assert_eq!(answer.code(), "DENIED");
            assert!(answer.message().contains(action.as_str()), "{}", answer.message());
        }
    }
}
