//! Manifests: pushed, read, refused, removed.

use crate::http_client::{Answer, call};
use crate::server::Server;
use image::{Digest, Manifest, media_type};

/// Uploads a configuration and writes the manifest of an image without layers.
pub async fn image(server: &Server, more: &str) -> String {
    let digest = Digest::of(b"{}");
    let path = format!("/v2/demo/blobs/uploads/?digest={digest}");
    assert_eq!(call(server.address, "POST", &path, &[], "{}").await.status, 201);
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{digest}","size":2}},"layers":[]{more}}}"#,
        media_type::OCI_MANIFEST,
        media_type::OCI_CONFIG
    )
}

pub async fn push(server: &Server, reference: &str, media_type: &str, manifest: &str) -> Answer {
    let path = format!("/v2/demo/manifests/{reference}");
    call(server.address, "PUT", &path, &[("content-type", media_type)], manifest.to_owned()).await
}

#[tokio::test]
async fn a_manifest_comes_back_byte_by_byte() {
    let server = Server::start(&["demo"]).await;
    let manifest = format!(" {} ", image(&server, "").await);
    let digest = Digest::of(manifest.as_bytes()).to_string();
    let put = push(&server, "v1", media_type::OCI_MANIFEST, &manifest).await;
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(put.header("docker-content-digest"), digest);
    assert_eq!(put.header("location"), "/v2/demo/manifests/v1");
    for reference in ["v1", &digest] {
        let path = format!("/v2/demo/manifests/{reference}");
        let get = call(server.address, "GET", &path, &[], "").await;
        assert_eq!((get.status.as_u16(), get.text()), (200, manifest.clone()));
        assert_eq!(get.header("content-type"), media_type::OCI_MANIFEST);
        assert_eq!(get.header("docker-content-digest"), digest);
        let head = call(server.address, "HEAD", &path, &[], "").await;
        assert_eq!((head.status.as_u16(), head.header("docker-content-digest")), (200, digest.as_str()));
        assert_eq!(head.header("content-length"), manifest.len().to_string());
        assert!(head.body.is_empty());
    }
    assert_eq!(call(server.address, "DELETE", "/v2/demo/manifests/v1", &[], "").await.status, 202);
    let gone = call(server.address, "GET", "/v2/demo/manifests/v1", &[], "").await;
    assert_eq!((gone.status.as_u16(), gone.code().as_str()), (404, "MANIFEST_UNKNOWN"));
    assert_eq!(gone.message(), "Requested image not found");
}

#[tokio::test]
async fn refusals() {
    let server = Server::start(&["demo"]).await;
    let good = image(&server, "").await;
    let unknown =
        good.replace("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", &"0".repeat(64));
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":3}}]}}"#,
        media_type::OCI_MANIFEST,
        Digest::of(b"nowhere")
    );
    let other = Digest::of(b"other").to_string();
    for (reference, media_type, manifest, status, code) in [
        ("v1", media_type::OCI_MANIFEST, "garbage", 400, "MANIFEST_INVALID"),
        ("v1", media_type::DOCKER_MANIFEST, &good, 400, "MANIFEST_INVALID"),
        ("v1", media_type::DOCKER_SCHEMA1, r#"{"schemaVersion":1}"#, 400, "MANIFEST_INVALID"),
        ("v1", media_type::OCI_MANIFEST, &unknown, 404, "MANIFEST_BLOB_UNKNOWN"),
        ("v1", media_type::OCI_INDEX, &index, 404, "MANIFEST_BLOB_UNKNOWN"),
        (&other, media_type::OCI_MANIFEST, &good, 400, "DIGEST_INVALID"),
        ("a+b", media_type::OCI_MANIFEST, &good, 400, "TAG_INVALID"),
    ] {
        let answer = push(&server, reference, media_type, manifest).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (status, code),
            "{reference} {manifest}"
        );
    }
    let large = format!("{good}{}", " ".repeat(Manifest::BYTES_MAX));
    assert_eq!(push(&server, "v1", media_type::OCI_MANIFEST, &large).await.status, 413);
    let missing = call(server.address, "PUT", "/v2/missing/manifests/v1", &[], good).await;
    assert_eq!((missing.status.as_u16(), missing.code().as_str()), (404, "NAME_UNKNOWN"));
    assert_eq!(call(server.address, "POST", "/v2/demo/manifests/v1", &[], "").await.status, 405);
}

#[tokio::test]
async fn an_immutable_tag_stays() {
    let server = Server::start(&["demo"]).await;
    server.catalog.state().repositories.get_mut("demo").unwrap().immutable = true;
    let manifest = image(&server, "").await;
    assert_eq!(push(&server, "v1", media_type::OCI_MANIFEST, &manifest).await.status, 201);
    assert_eq!(push(&server, "v1", media_type::OCI_MANIFEST, &manifest).await.status, 201);
    let other = format!("{manifest} ");
    let answer = push(&server, "v1", media_type::OCI_MANIFEST, &other).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "TAG_INVALID"));
}

#[tokio::test]
async fn an_index_over_pushed_images() {
    let server = Server::start(&["demo"]).await;
    let manifest = image(&server, "").await;
    let digest = Digest::of(manifest.as_bytes()).to_string();
    assert_eq!(push(&server, &digest, media_type::OCI_MANIFEST, &manifest).await.status, 201);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{digest}","size":{}}}]}}"#,
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        manifest.len()
    );
    assert_eq!(push(&server, "all", media_type::OCI_INDEX, &index).await.status, 201);
    let get = call(server.address, "GET", "/v2/demo/manifests/all", &[], "").await;
    assert_eq!((get.header("content-type"), get.text()), (media_type::OCI_INDEX, index));
}
