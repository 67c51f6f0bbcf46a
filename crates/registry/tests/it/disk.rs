//! A full disk: a clean error, and nothing stays behind. Needs root, to mount a small tmpfs.

use crate::catalog::MemoryCatalog;
use crate::http_client::call;
use crate::server::{Server, credentials};
use image::build::{BuiltImage, Format, LayerWriter, Run};
use image::{Digest, Error, Platform};
use std::path::{Path, PathBuf};

/// A file system with room for a few mebibytes.
pub struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    pub fn mount(mebibytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={mebibytes}m")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", dir.path(), "tmpfs", flags, options.as_c_str())
            .expect("this test mounts a small tmpfs: run it as root");
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(self.dir.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[tokio::test]
async fn a_push_that_does_not_fit() {
    let disk = SmallDisk::mount(4);
    let server = Server::on(disk.path(), MemoryCatalog::new(&["demo"])).await;
    let content = vec![7; 6 << 20];
    let digest = Digest::of(&content);
    let post = call(
        server.address,
        "POST",
        &format!("/v2/demo/blobs/uploads/?digest={digest}"),
        &[],
        content.clone(),
    )
    .await;
    assert_eq!((post.status.as_u16(), post.code().as_str()), (507, "STORAGE_FULL"));
    let begun = call(server.address, "POST", "/v2/demo/blobs/uploads/", &[], "").await;
    let location = begun.header("location").to_owned();
    let patch = call(server.address, "PATCH", &location, &[], content).await;
    assert_eq!((patch.status.as_u16(), patch.code().as_str()), (507, "STORAGE_FULL"));
    assert_eq!(server.files(), Vec::<PathBuf>::new());
    // What fits is taken again.
    let small = Digest::of(b"small");
    let post =
        call(server.address, "POST", &format!("/v2/demo/blobs/uploads/?digest={small}"), &[], "small").await;
    assert_eq!(post.status, 201);
}

#[tokio::test]
async fn a_pull_that_does_not_fit() {
    let server = Server::start(&["demo"]).await;
    let mut layer = LayerWriter::in_memory();
    // Compresses well: the download fits, the unpacked file does not.
    layer.file("big", &vec![0; 9 << 20], 0o644).unwrap();
    let layers = vec![layer.finish().unwrap()];
    let built = BuiltImage::new(Format::Oci, Platform::host(), &Run::default(), layers).unwrap();
    let reference = server.reference("demo:v1");
    server.pusher().push(&built, &reference, &credentials()).await.unwrap();
    let disk = SmallDisk::mount(4);
    let puller = server.puller(disk.path());
    let error = puller.pull(&reference, &credentials()).await.unwrap_err();
    assert!(matches!(error, Error::DiskFull(_)), "{}", stdx::Chain(&error));
    assert!(error.to_string().contains("no space left on device"), "{error}");
    assert!(puller.store().find(&reference).unwrap().is_none());
    assert_eq!(std::fs::read_dir(disk.path().join("tmp")).unwrap().count(), 0);
    let layers = std::fs::read_dir(disk.path().join("layers")).unwrap();
    assert_eq!(layers.filter(|entry| entry.as_ref().unwrap().file_name() != "empty").count(), 0);
}
