//! Raw HTTP requests, for what no SDK would send.

use serde_json::Value;
use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Sends one request on its own connection; the status and the body.
pub(crate) fn send(address: &str, head: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let length = body.len();
    write!(
        stream,
        "{head}\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let reply = String::from_utf8_lossy(&reply);
    let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(|| Error::other("the reply was cut off"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(|| Error::other("no status line"))?, body.to_owned()))
}

/// Calls ECS as a client whose key is only an account, which `--any-credentials` allows.
pub(crate) fn ecs(address: &str, operation: &str, body: &str) -> Result<(u16, Value)> {
    let head = format!(
        "POST / HTTP/1.1\r\nx-amz-date: 20260101T000000Z\r\ncontent-type: application/x-amz-json-1.1\r\n\
         x-amz-target: AmazonEC2ContainerServiceV20141113.{operation}\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=123456789012/20260101/us-east-1/ecs/aws4_request, \
         SignedHeaders=host, Signature=0000"
    );
    let (status, body) = send(address, &head, body)?;
    let body = serde_json::from_str(&body).map_err(Error::other)?;
    Ok((status, body))
}
