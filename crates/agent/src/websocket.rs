//! What ACS and TCS have in common: a signed upgrade, refusals, and the time between two attempts.
//!
//! Source: ecs-agent-protocol, "Connect" and "Frames".

use crate::client::Client;
use crate::clock::{now, seed};
use crate::dial::{Io, authority};
use crate::error::CallError;
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use std::time::Duration;
use stdx::Rng;
use thiserror::Error;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

const HANDSHAKE: Duration = Duration::from_secs(30);
/// Payloads have no bound of their own; this one keeps memory finite.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// A connection is closed after this long without a message, and up to twice this.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// A connection is renewed after this long, and a few minutes.
const LIFE: Duration = Duration::from_secs(30 * 60);
const LIFE_SPREAD: Duration = Duration::from_secs(5 * 60);

pub(crate) type Socket = WebSocketStream<Box<dyn Io>>;

/// Why a session could not be opened.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("this machine is not registered any more ({0})")]
    Inactive(String),
    #[error("the control plane refuses the session: {0}")]
    Refused(String),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the upgrade to a websocket failed")]
    Upgrade(#[source] Box<WsError>),
    #[error("the upgrade to a websocket took too long")]
    Timeout,
}

/// How a session ended, as far as the next attempt depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The next attempt is made at once.
    AtOnce,
    BackOff,
}

/// Opens `{endpoint}/ws?…`.
pub(crate) async fn connect(
    client: &Client,
    endpoint: &str,
    parameters: &[(&str, &str)],
) -> Result<(Socket, http::Uri), Refusal> {
    let url = session_url(endpoint, parameters)?;
    let stream = client.dialer().connect(&url).await?;
    let request = upgrade_request(client, &url)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let opening = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    match timeout(HANDSHAKE, opening).await {
        Ok(Ok((socket, _))) => Ok((socket, url)),
        Ok(Err(WsError::Http(response))) => Err(refusal(response.status(), response.body().as_deref())),
        Ok(Err(error)) => Err(Refusal::Upgrade(Box::new(error))),
        Err(_) => Err(Refusal::Timeout),
    }
}

fn session_url(endpoint: &str, parameters: &[(&str, &str)]) -> Result<http::Uri, Refusal> {
    let query: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let url = format!("{}/ws?{}", endpoint.trim_end_matches('/'), query.join("&"));
    url.parse().map_err(|_| Refusal::Call(CallError::Url(url)))
}

fn encoded(value: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            // Writing to a string cannot fail.
            _ => write!(out, "%{byte:02X}").unwrap_or_default(),
        }
    }
    out
}

/// Signed like a GET of the URL with `host` and the date alone, as Amazon's agent does.
fn upgrade_request(client: &Client, url: &http::Uri) -> Result<http::Request<()>, Refusal> {
    let mut headers = http::HeaderMap::new();
    let bad_url = |_| Refusal::Call(CallError::Url(url.to_string()));
    headers.insert(HOST, http::HeaderValue::from_str(&authority(url)?).map_err(bad_url)?);
    let message = wire::sigv4::Message { method: "GET", uri: url, body: b"" };
    wire::sigv4::sign_message(&client.signer("ecs"), message, &mut headers, now());
    // `http` becomes `ws`, `https` becomes `wss`.
    let websocket_url = url.to_string().replacen("http", "ws", 1);
    let mut request = http::Request::builder()
        .uri(websocket_url)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, generate_key())
        .body(())
        .map_err(|_| Refusal::Call(CallError::Url(url.to_string())))?;
    request.headers_mut().extend(headers);
    Ok(request)
}

/// Reads `{"type":"Name","message":{…}}` or `{"Name":"…"}`; also the error form of the HTTP APIs.
fn refusal(status: http::StatusCode, body: Option<&[u8]>) -> Refusal {
    let text = String::from_utf8_lossy(body.unwrap_or_default()).into_owned();
    if text.contains("InactiveInstanceException") {
        return Refusal::Inactive(text);
    }
    Refusal::Refused(if text.is_empty() { status.to_string() } else { text })
}

/// What a frame of the other side's, or its absence, means for the session.
pub(crate) fn read(received: Option<Result<Message, WsError>>) -> Result<Option<String>, End> {
    match received {
        Some(Ok(Message::Text(text))) => Ok(Some(text.as_str().to_owned())),
        Some(Ok(Message::Close(Some(frame)))) => Err(match u16::from(frame.code) {
            1000 | 1001 | 1006 | 1011 => End::AtOnce,
            _ => End::BackOff,
        }),
        Some(Ok(Message::Close(None))) | None => Err(End::AtOnce),
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => {
            tracing::debug!(%error, "a session with the control plane broke");
            // A lost connection counts as close code 1006.
            Err(End::AtOnce)
        }
    }
}

/// Ends a session politely.
pub(crate) async fn close(socket: &mut Socket) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    if let Ok(Err(error)) = timeout(Duration::from_secs(1), socket.close(Some(frame))).await {
        tracing::debug!(%error, "a session did not close cleanly");
    }
}

/// Ever longer waits with some chance in them.
pub(crate) struct BackOff {
    rng: Rng,
    first: Duration,
    next: Duration,
    max: Duration,
    /// In hundredths.
    factor: u32,
}

impl BackOff {
    pub(crate) fn new(first: Duration, factor: u32, max: Duration) -> Self {
        Self { rng: Rng::new(seed()), first, next: first, max, factor }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    pub(crate) async fn wait(&mut self) {
        let wait = self.next + self.spread(self.next / 5);
        self.next = (self.next * self.factor / 100).min(self.max);
        tokio::time::sleep(wait).await;
    }

    /// Something between nothing and `most`.
    pub(crate) fn spread(&mut self, most: Duration) -> Duration {
        Duration::from_millis(self.rng.below(u64::try_from(most.as_millis()).unwrap_or(u64::MAX)))
    }

    pub(crate) fn silence(&mut self) -> Duration {
        SILENCE + self.spread(SILENCE)
    }

    pub(crate) fn life(&mut self) -> Duration {
        LIFE + self.spread(LIFE_SPREAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_s_url() {
        let url = session_url(
            "http://h:1/acs/",
            &[("clusterArn", "arn:a/b"), ("dockerVersion", "DockerVersion: 1")],
        );
        assert_eq!(url.unwrap(), "http://h:1/acs/ws?clusterArn=arn%3Aa%2Fb&dockerVersion=DockerVersion%3A+1");
    }

    #[test]
    fn both_forms_of_a_refusal_are_known() {
        for body in [
            r#"{"type":"InactiveInstanceException","message":{"message":"x"}}"#,
            r#"{"InactiveInstanceException":"x"}"#,
        ] {
            assert!(matches!(
                refusal(http::StatusCode::BAD_REQUEST, Some(body.as_bytes())),
                Refusal::Inactive(_)
            ));
        }
        assert!(matches!(refusal(http::StatusCode::FORBIDDEN, None), Refusal::Refused(_)));
    }

    #[test]
    fn close_codes_say_when_to_come_back() {
        let close = |code: u16| {
            let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
            read(Some(Ok(Message::Close(Some(frame)))))
        };
        for code in [1000, 1001, 1011] {
            assert_eq!(close(code), Err(End::AtOnce));
        }
        assert_eq!(close(4000), Err(End::BackOff));
        assert_eq!(read(None), Err(End::AtOnce));
    }
}
