//! The image of these tests: busybox, two users, and a page to serve.

use image::Platform;
use image::build::{BuiltImage, Format, LayerWriter, Run};
use std::path::Path;

const BUSYBOX: &str = "/usr/bin/busybox";
const APPLETS: [&str; 26] = [
    "sh", "cat", "echo", "sleep", "id", "ls", "nc", "wget", "httpd", "mknod", "grep", "env", "pwd",
    "hostname", "ip", "mount", "true", "false", "dd", "ulimit", "touch", "stat", "head", "unshare", "tr",
    "fold",
];

pub fn build() -> BuiltImage {
    assert!(Path::new(BUSYBOX).exists(), "these tests need {BUSYBOX}: apt-get install busybox-static");
    let mut base = LayerWriter::in_memory();
    for directory in ["bin", "etc", "tmp", "root", "www"] {
        base.directory(directory, 0o755).expect("adds");
    }
    base.copy("bin/busybox", Path::new(BUSYBOX), 0o755).expect("adds");
    for applet in APPLETS {
        base.symlink(&format!("bin/{applet}"), "busybox").expect("adds");
    }
    let mut top = LayerWriter::in_memory();
    top.directory("etc", 0o755).expect("adds");
    top.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/www:/bin/sh\n", 0o644)
        .expect("adds");
    top.file("etc/group", b"root:x:0:\nweb:x:1001:\nextra:x:1002:web\n", 0o644).expect("adds");
    top.directory("www", 0o755).expect("adds");
    top.file("www/index.html", b"hello from the container\n", 0o644).expect("adds");
    let run =
        Run { env: vec!["FROM_IMAGE=yes".to_owned()], cmd: vec!["/bin/sh".to_owned()], ..Run::default() };
    let layers = vec![base.finish().expect("finishes"), top.finish().expect("finishes")];
    BuiltImage::new(Format::Oci, Platform::host(), &run, layers).expect("builds")
}
