//! The demo's container: a web server in one static file, built by `build.rs` and packed into an image by `wharf demo`.
//!
//! Answers every request on port 8080 (or the first argument) with a greeting, logs it, and ends on SIGTERM, since as
//! the first process of its container nothing else would end it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    end_on_sigterm();
    let port = std::env::args().nth(1).unwrap_or_else(|| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).expect("the container's port is free");
    println!("listening on port {port}");
    for stream in listener.incoming().flatten() {
        if let Err(error) = answer(stream) {
            println!("a client went away: {error}");
        }
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    println!("{request}");
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned());
    let body = format!("{greeting} from a container. My process id is {}.\n", std::process::id());
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// Process 1 of a container ignores signals without a handler.
fn end_on_sigterm() {
    unsafe extern "C" {
        fn signal(signal: i32, handler: usize) -> usize;
        fn _exit(code: i32) -> !;
    }
    extern "C" fn end(_: i32) {
        // SAFETY: _exit may be called in a signal handler.
        unsafe { _exit(0) }
    }
    // SAFETY: 15 is SIGTERM, and the handler only calls what a handler may.
    unsafe { signal(15, end as *const () as usize) };
}
