//! Tags, repositories and referrers.

use crate::http_client::call;
use crate::manifests::{image, push};
use crate::server::Server;
use image::{Digest, media_type};

#[tokio::test]
async fn tags_come_in_pages_with_links() {
    let server = Server::start(&["demo"]).await;
    let manifest = image(&server, "").await;
    for tag in ["b", "a", "c", "1.0"] {
        push(&server, tag, media_type::OCI_MANIFEST, &manifest).await;
    }
    let all = call(server.address, "GET", "/v2/demo/tags/list", &[], "").await;
    assert_eq!(all.text(), r#"{"name":"demo","tags":["1.0","a","b","c"]}"#);
    assert_eq!(all.header("link"), "");
    let first = call(server.address, "GET", "/v2/demo/tags/list?n=3", &[], "").await;
    assert_eq!(first.text(), r#"{"name":"demo","tags":["1.0","a","b"]}"#);
    assert_eq!(first.header("link"), r#"</v2/demo/tags/list?n=3&last=b>; rel="next""#);
    let rest = call(server.address, "GET", "/v2/demo/tags/list?n=3&last=b", &[], "").await;
    assert_eq!((rest.text().as_str(), rest.header("link")), (r#"{"name":"demo","tags":["c"]}"#, ""));
    assert_eq!(call(server.address, "GET", "/v2/demo/tags/list?n=99999", &[], "").await.status, 200);
    let bad = call(server.address, "GET", "/v2/demo/tags/list?n=many", &[], "").await;
    assert_eq!((bad.status.as_u16(), bad.code().as_str()), (400, "UNSUPPORTED"));
    let missing = call(server.address, "GET", "/v2/missing/tags/list", &[], "").await;
    assert_eq!((missing.status.as_u16(), missing.code().as_str()), (404, "NAME_UNKNOWN"));
    assert!(missing.message().contains("does not exist in the registry with id '123456789012'"));
}

#[tokio::test]
async fn repositories_are_listed() {
    let server = Server::start(&["a/b", "c", "d/e/f"]).await;
    let answer = call(server.address, "GET", "/v2/_catalog?n=2", &[], "").await;
    assert_eq!(answer.text(), r#"{"repositories":["a/b","c"]}"#);
    assert_eq!(answer.header("link"), r#"</v2/_catalog?n=2&last=c>; rel="next""#);
}

#[tokio::test]
async fn referrers_of_an_image() {
    let server = Server::start(&["demo"]).await;
    let subject = image(&server, "").await;
    push(&server, "v1", media_type::OCI_MANIFEST, &subject).await;
    let digest = Digest::of(subject.as_bytes());
    let more = format!(
        r#","artifactType":"application/vnd.sbom","annotations":{{"a":"b"}},"subject":{{"mediaType":"{}","digest":"{digest}","size":{}}}"#,
        media_type::OCI_MANIFEST,
        subject.len()
    );
    let sbom = image(&server, &more).await;
    let put = push(&server, &Digest::of(sbom.as_bytes()).to_string(), media_type::OCI_MANIFEST, &sbom).await;
    assert_eq!(put.header("oci-subject"), digest.to_string());
    let path = format!("/v2/demo/referrers/{digest}");
    let list = call(server.address, "GET", &path, &[], "").await;
    assert_eq!(list.header("content-type"), media_type::OCI_INDEX);
    let json: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(json["schemaVersion"], 2);
    assert_eq!(json["manifests"][0]["digest"], Digest::of(sbom.as_bytes()).to_string());
    assert_eq!(json["manifests"][0]["artifactType"], "application/vnd.sbom");
    assert_eq!(json["manifests"][0]["annotations"]["a"], "b");
    let other =
        call(server.address, "GET", &format!("{path}?artifactType=application%2Fother"), &[], "").await;
    let json: serde_json::Value = serde_json::from_slice(&other.body).unwrap();
    assert_eq!(json["manifests"].as_array().unwrap().len(), 0);
    assert_eq!(other.header("oci-filters-applied"), "artifactType");
    let none =
        call(server.address, "GET", &format!("/v2/demo/referrers/{}", Digest::of(b"x")), &[], "").await;
    assert_eq!(none.status, 200);
}
