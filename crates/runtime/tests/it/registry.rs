//! A registry of one image on loopback: just enough of the distribution API to pull from.

use image::build::{Blob, BuiltImage, Content};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// Serves an image until the process ends; answers its reference.
pub fn serve(image: BuiltImage) -> String {
    let image = Arc::new(image);
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let reference = format!("{}/test/image:1", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let image = Arc::clone(&image);
            std::thread::spawn(move || answer(&stream, &image));
        }
    });
    reference
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
