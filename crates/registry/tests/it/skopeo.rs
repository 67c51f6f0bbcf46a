//! skopeo as an independent client: what it pushes and pulls must be what we built.

use crate::catalog::PASSWORD;
use crate::server::{Server, credentials};
use image::build::{BuiltImage, BuiltIndex, Format, LayerWriter, Run};
use image::{Manifest, Platform, media_type};
use std::path::Path;
use std::process::Command;

fn built(format: Format, platform: Platform, content: &str) -> BuiltImage {
    let mut layer = LayerWriter::in_memory();
    layer.directory("etc", 0o755).unwrap();
    layer.file("etc/content", content.as_bytes(), 0o644).unwrap();
    let run = Run { cmd: vec!["/bin/true".to_owned()], ..Run::default() };
    BuiltImage::new(format, platform, &run, vec![layer.finish().unwrap()]).unwrap()
}

/// Runs skopeo on a thread of its own, because the server lives on this runtime.
async fn skopeo(arguments: Vec<String>) {
    let run = tokio::task::spawn_blocking(move || Command::new("skopeo").args(&arguments).output());
    let output = run.await.unwrap().expect("this test runs skopeo: apt-get install skopeo");
    assert!(output.status.success(), "skopeo: {}", String::from_utf8_lossy(&output.stderr));
}

async fn copy(from: &str, into: &str, more: &[&str]) {
    let mut arguments: Vec<String> =
        ["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"]
            .map(str::to_owned)
            .to_vec();
    for (side, place) in [("--src-creds", from), ("--dest-creds", into)] {
        if place.starts_with("docker:") {
            arguments.extend([side.to_owned(), format!("AWS:{PASSWORD}")]);
        }
    }
    arguments.extend(more.iter().map(|option| (*option).to_owned()));
    arguments.extend([from.to_owned(), into.to_owned()]);
    skopeo(arguments).await;
}

fn folder(dir: &Path, name: &str) -> String {
    format!("oci:{}:latest", dir.join(name).display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_images_of_both_formats() {
    let server = Server::start(&["demo", "copy"]).await;
    let dir = tempfile::tempdir().unwrap();
    for (format, tag, expected) in [
        (Format::Oci, "oci", media_type::OCI_MANIFEST),
        (Format::Docker, "docker", media_type::DOCKER_MANIFEST),
    ] {
        let image = built(format, Platform::host(), tag);
        let source = server.reference(&format!("demo:{tag}"));
        server.pusher().push(&image, &source, &credentials()).await.unwrap();
        // Registry to registry keeps the bytes.
        copy(&format!("docker://{source}"), &format!("docker://{}/copy:{tag}", server.address), &[]).await;
        assert_eq!(server.catalog.state().repositories["copy"].tags[tag], image.descriptor.digest);
        let stored = server.store.read(image.descriptor.digest, 1 << 20).unwrap().unwrap();
        assert_eq!(Manifest::parse(&stored, None).unwrap().media_type(), expected);
        // Out to a directory and in again.
        copy(&format!("docker://{source}"), &folder(dir.path(), tag), &[]).await;
        let back = server.reference(&format!("copy:{tag}-back"));
        let wanted = if format == Format::Oci { "oci" } else { "v2s2" };
        copy(&folder(dir.path(), tag), &format!("docker://{back}"), &["--format", wanted]).await;
        let pulled = server
            .puller(&dir.path().join(format!("{tag}-store")))
            .pull(&back, &credentials())
            .await
            .unwrap();
        assert_eq!(std::fs::read_to_string(pulled.lowerdirs()[0].join("etc/content")).unwrap(), tag);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_an_index_with_all_its_images() {
    let server = Server::start(&["demo", "copy"]).await;
    let dir = tempfile::tempdir().unwrap();
    let platform =
        |architecture: &str| Platform { architecture: architecture.to_owned(), ..Platform::host() };
    let images = ["amd64", "arm64"].map(|name| built(Format::Oci, platform(name), name)).to_vec();
    let index = BuiltIndex::new(Format::Oci, images).unwrap();
    let source = server.reference("demo:all");
    server.pusher().push_index(&index, &source, &credentials()).await.unwrap();
    copy(&format!("docker://{source}"), &folder(dir.path(), "all"), &["--all"]).await;
    let back = server.reference("copy:all");
    copy(&folder(dir.path(), "all"), &format!("docker://{back}"), &["--all"]).await;
    assert_eq!(server.catalog.state().repositories["copy"].tags["all"], index.descriptor.digest);
    let pulled = server.puller(&dir.path().join("store")).pull(&back, &credentials()).await.unwrap();
    assert_eq!(pulled.record.digest, index.descriptor.digest);
    assert_eq!(pulled.config.architecture, Platform::host().architecture);
}
