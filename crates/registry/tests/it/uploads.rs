//! Every way to bring a blob in, and to fail at it.

use crate::catalog::MemoryCatalog;
use crate::http_client::{Answer, BASIC, call, raw};
use crate::server::Server;
use image::Digest;
use std::time::{Duration, Instant};

async fn begin(server: &Server) -> String {
    let answer = call(server.address, "POST", "/v2/demo/blobs/uploads/", &[], "").await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("range"), "0-0");
    assert!(answer.header("location").ends_with(answer.header("docker-upload-uuid")));
    answer.header("location").to_owned()
}

async fn get(server: &Server, digest: Digest) -> Answer {
    call(server.address, "GET", &format!("/v2/demo/blobs/{digest}"), &[], "").await
}

#[track_caller]
fn assert_created(answer: &Answer, digest: Digest) {
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("docker-content-digest"), digest.to_string());
    assert_eq!(answer.header("location"), format!("/v2/demo/blobs/{digest}"));
}

#[tokio::test]
async fn one_post() {
    let server = Server::start(&["demo"]).await;
    let digest = Digest::of(b"whole");
    let path = format!("/v2/demo/blobs/uploads/?digest={digest}");
    assert_created(&call(server.address, "POST", &path, &[], "whole").await, digest);
    assert_eq!(get(&server, digest).await.text(), "whole");
    // The empty blob is a blob.
    let empty = Digest::of(b"");
    let path = format!("/v2/demo/blobs/uploads/?digest={empty}");
    assert_created(&call(server.address, "POST", &path, &[], "").await, empty);
    assert_eq!(get(&server, empty).await.header("content-length"), "0");
}

#[tokio::test]
async fn post_then_put() {
    let server = Server::start(&["demo"]).await;
    let (location, digest) = (begin(&server).await, Digest::of(b"late"));
    let answer = call(server.address, "PUT", &format!("{location}?digest={digest}"), &[], "late").await;
    assert_created(&answer, digest);
    assert_eq!(get(&server, digest).await.text(), "late");
}

#[tokio::test]
async fn pieces_in_order_with_status_between() {
    let server = Server::start(&["demo"]).await;
    let (location, digest) = (begin(&server).await, Digest::of(b"abcdef"));
    let first = call(server.address, "PATCH", &location, &[("content-range", "0-2")], "abc").await;
    assert_eq!((first.status.as_u16(), first.header("range")), (202, "0-2"));
    for wrong in ["0-2", "2-4", "4-6"] {
        let answer = call(server.address, "PATCH", &location, &[("content-range", wrong)], "xyz").await;
        assert_eq!((answer.status.as_u16(), answer.header("range")), (416, "0-2"), "{wrong}");
    }
    let status = call(server.address, "GET", &location, &[], "").await;
    assert_eq!((status.status.as_u16(), status.header("range")), (204, "0-2"));
    let last = ("content-range", "3-5");
    let answer = call(server.address, "PUT", &format!("{location}?digest={digest}"), &[last], "def").await;
    assert_created(&answer, digest);
    assert_eq!(get(&server, digest).await.text(), "abcdef");
    assert_eq!(call(server.address, "GET", &location, &[], "").await.code(), "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn chunked_transfer_as_docker_does() {
    let server = Server::start(&["demo"]).await;
    let (location, digest) = (begin(&server).await, Digest::of(b"hello world"));
    let request = format!(
        "PATCH {location} HTTP/1.1\r\nHost: x\r\nAuthorization: {BASIC}\r\nTransfer-Encoding: chunked\r\n\r\n\
         6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"
    );
    let answer = raw(server.address, request.as_bytes(), "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.to_lowercase().contains("range: 0-10"), "{answer}");
    let answer = call(server.address, "PUT", &format!("{location}?digest={digest}"), &[], "").await;
    assert_created(&answer, digest);
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing_behind() {
    let server = Server::start(&["demo"]).await;
    let other = Digest::of(b"other");
    let location = begin(&server).await;
    let put = call(server.address, "PUT", &format!("{location}?digest={other}"), &[], "bytes").await;
    let post =
        call(server.address, "POST", &format!("/v2/demo/blobs/uploads/?digest={other}"), &[], "bytes").await;
    for answer in [put, post] {
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "DIGEST_INVALID"));
        assert_eq!(answer.message(), "None of the provided layer digests match the calculated layer digest");
    }
    assert_eq!(call(server.address, "GET", &location, &[], "").await.status, 404);
    assert_eq!(server.files(), Vec::<std::path::PathBuf>::new());
    assert!(server.catalog.state().repositories["demo"].layers.is_empty());
}

#[tokio::test]
async fn cancelled_uploads_are_gone() {
    let server = Server::start(&["demo"]).await;
    let location = begin(&server).await;
    call(server.address, "PATCH", &location, &[], "abc").await;
    assert_eq!(call(server.address, "DELETE", &location, &[], "").await.status, 204);
    assert_eq!(call(server.address, "PATCH", &location, &[], "abc").await.code(), "BLOB_UPLOAD_UNKNOWN");
    assert!(server.files().is_empty());
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = MemoryCatalog::new(&["demo"]);
    let server = Server::on(dir.path(), catalog.clone()).await;
    let location = begin(&server).await;
    call(server.address, "PATCH", &location, &[], "before ").await;
    drop(server);
    let server = Server::on(dir.path(), catalog).await;
    let status = call(server.address, "GET", &location, &[], "").await;
    assert_eq!(status.header("range"), "0-6");
    let digest = Digest::of(b"before after");
    let range = ("content-range", "7-11");
    assert_eq!(call(server.address, "PATCH", &location, &[range], "after").await.status, 202);
    assert_created(
        &call(server.address, "PUT", &format!("{location}?digest={digest}"), &[], "").await,
        digest,
    );
}

#[tokio::test]
async fn a_broken_transfer_is_resumed() {
    let server = Server::start(&["demo"]).await;
    let (location, digest) = (begin(&server).await, Digest::of(b"first half, second half"));
    let request = format!(
        "PATCH {location} HTTP/1.1\r\nHost: x\r\nAuthorization: {BASIC}\r\nContent-Length: 23\r\n\r\nfirst half, "
    );
    {
        use tokio::io::AsyncWriteExt;
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let status = call(server.address, "GET", &location, &[], "").await;
        if status.header("range") == "0-11" {
            break;
        }
        assert!(Instant::now() < deadline, "the first half never arrived: {}", status.header("range"));
        tokio::task::yield_now().await;
    }
    let range = ("content-range", "12-22");
    assert_eq!(call(server.address, "PATCH", &location, &[range], "second half").await.status, 202);
    assert_created(
        &call(server.address, "PUT", &format!("{location}?digest={digest}"), &[], "").await,
        digest,
    );
}

#[tokio::test]
async fn uploads_belong_to_their_repository() {
    let server = Server::start(&["demo", "other"]).await;
    let location = begin(&server).await;
    let stolen = location.replace("/demo/", "/other/");
    for method in ["GET", "PATCH", "PUT", "DELETE"] {
        let path = format!("{stolen}?digest={}", Digest::of(b""));
        assert_eq!(call(server.address, method, &path, &[], "").await.status, 404, "{method}");
    }
    assert_eq!(call(server.address, "GET", &location, &[], "").await.status, 204);
}

#[tokio::test]
async fn mounts_only_when_allowed() {
    let server = Server::start(&["demo", "team/base"]).await;
    let digest = Digest::of(b"shared");
    let path = format!("/v2/team/base/blobs/uploads/?digest={digest}");
    assert_eq!(call(server.address, "POST", &path, &[], "shared").await.status, 201);
    let mount = format!("/v2/demo/blobs/uploads/?mount={digest}&from=team/base");
    assert_eq!(call(server.address, "POST", &mount, &[], "").await.status, 202);
    assert_eq!(get(&server, digest).await.code(), "BLOB_UNKNOWN");
    server.catalog.state().mounting = true;
    let unknown = format!("/v2/demo/blobs/uploads/?mount={}&from=team/base", Digest::of(b"unknown"));
    assert_eq!(call(server.address, "POST", &unknown, &[], "").await.status, 202);
    let missing = format!("/v2/demo/blobs/uploads/?mount={digest}&from=no/such");
    assert_eq!(call(server.address, "POST", &missing, &[], "").await.status, 202);
    assert_created(&call(server.address, "POST", &mount, &[], "").await, digest);
    assert_eq!(get(&server, digest).await.text(), "shared");
}

#[tokio::test]
async fn bad_requests() {
    let server = Server::start(&["demo"]).await;
    let location = begin(&server).await;
    for (method, path, status, code) in [
        ("PUT", location.clone(), 400, "DIGEST_INVALID"),
        ("PUT", format!("{location}?digest=sha256:12"), 400, "DIGEST_INVALID"),
        ("POST", "/v2/demo/blobs/uploads/?digest=md5:00".to_owned(), 400, "DIGEST_INVALID"),
        ("POST", location.clone(), 405, "UNSUPPORTED"),
        ("POST", "/v2/missing/blobs/uploads/".to_owned(), 404, "NAME_UNKNOWN"),
        ("PATCH", "/v2/demo/blobs/uploads/..".to_owned(), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", "/v2/demo/blobs/uploads/%2e%2e%2f%2e%2e%2fsecret".to_owned(), 404, "UNSUPPORTED"),
        ("PATCH", format!("/v2/demo/blobs/uploads/{}", "0".repeat(36)), 404, "BLOB_UPLOAD_UNKNOWN"),
    ] {
        let answer = call(server.address, method, &path, &[], "x").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{method} {path}");
    }
    let short = call(server.address, "PATCH", &location, &[("content-range", "0-9")], "x").await;
    assert_eq!((short.status.as_u16(), short.code().as_str()), (400, "BLOB_UPLOAD_INVALID"));
    assert_eq!(call(server.address, "GET", &location, &[], "").await.header("range"), "0-0");
    for range in ["x", "5-2", "1", "0-18446744073709551615"] {
        let answer = call(server.address, "PATCH", &location, &[("content-range", range)], "x").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "BLOB_UPLOAD_INVALID"), "{range}");
    }
}

#[tokio::test]
async fn ranges_of_blobs() {
    let server = Server::start(&["demo"]).await;
    let content: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let digest = Digest::of(&content);
    let path = format!("/v2/demo/blobs/uploads/?digest={digest}");
    assert_eq!(call(server.address, "POST", &path, &[], content.clone()).await.status, 201);
    let blob = format!("/v2/demo/blobs/{digest}");
    let whole = call(server.address, "GET", &blob, &[], "").await;
    assert_eq!(
        (whole.status.as_u16(), whole.header("docker-content-digest")),
        (200, digest.to_string().as_str())
    );
    assert!(whole.body == content);
    let part = call(server.address, "GET", &blob, &[("range", "bytes=300000-599999")], "").await;
    assert_eq!((part.status.as_u16(), part.header("content-range")), (206, "bytes 300000-599999/1000000"));
    assert!(part.body == content[300_000..600_000]);
    let beyond = call(server.address, "GET", &blob, &[("range", "bytes=1000000-")], "").await;
    assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, "bytes */1000000"));
    let head = call(server.address, "HEAD", &blob, &[], "").await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.body.len()), (200, "1000000", 0));
    let delete = call(server.address, "DELETE", &blob, &[], "").await;
    assert_eq!((delete.status.as_u16(), delete.code().as_str()), (405, "UNSUPPORTED"));
}
