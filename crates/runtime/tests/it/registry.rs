//! A registry of one image on loopback: just enough of the distribution API to pull from.

use image::Platform;
use image::build::{Blob, BuiltImage, Content, Format, LayerWriter, Run};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

const BUSYBOX: &str = "/usr/bin/busybox";
const APPLETS: [&str; 24] = [
    "sh", "cat", "echo", "sleep", "id", "ls", "nc", "wget", "httpd", "mknod", "grep", "env", "pwd",
    "hostname", "ip", "mount", "true", "false", "dd", "ulimit", "touch", "stat", "head", "unshare",
];

/// Serves until the process ends; answers the reference of its image.
pub fn serve() -> String {
    let image = Arc::new(build());
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let reference = format!("{}/test/busybox:1", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let image = Arc::clone(&image);
            std::thread::spawn(move || answer(&stream, &image));
        }
    });
    reference
}

fn build() -> BuiltImage {
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

fn answer(stream: &TcpStream, image: &BuiltImage) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 0) {
        let mut words = line.split_whitespace();
        let (method, path) =
            (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        loop {
            line.clear();
            if reader.read_line(&mut line).is_err() || line == "\r\n" || line.is_empty() {
                break;
            }
        }
        let (status, kind, body) = find(&path, image);
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ndocker-content-digest: {}\r\ncontent-length: {}\r\n\r\n",
            image.descriptor.digest,
            body.len()
        );
        let mut stream = stream;
        let sent = stream.write_all(head.as_bytes());
        let sent = if method == "HEAD" { sent } else { sent.and_then(|()| stream.write_all(&body)) };
        if sent.is_err() {
            return;
        }
        line.clear();
    }
}

fn find(path: &str, image: &BuiltImage) -> (&'static str, String, Vec<u8>) {
    let last = path.rsplit('/').next().unwrap_or_default();
    if path == "/v2/" {
        return ("200 OK", "application/json".to_owned(), b"{}".to_vec());
    }
    if path.contains("/manifests/") && (last == "1" || last == image.descriptor.digest.to_string()) {
        return ("200 OK", image.descriptor.media_type.clone(), image.manifest.to_vec());
    }
    let blob =
        image.blobs.iter().find(|b| path.contains("/blobs/") && b.descriptor.digest.to_string() == last);
    match blob {
        Some(Blob { content: Content::Bytes(bytes), .. }) => {
            ("200 OK", "application/octet-stream".to_owned(), bytes.to_vec())
        }
        _ => ("404 Not Found", "application/json".to_owned(), b"{}".to_vec()),
    }
}
