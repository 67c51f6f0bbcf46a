//! A control plane that records what it is told and answers as it was told to.

use agent::{AgentConfig, AgentError, Credentials};
use api::channel::{AcsMessage, SignedFrame, TcsMessage};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use runtime::Simulated;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use stdx::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use wire::sigv4::{Parts, Signed};

pub const INSTANCE: &str = "arn:aws:ecs:us-east-1:123456789012:container-instance/default/0123456789abcdef";
const SECRET: &str = "secret";
const DEADLINE: Duration = Duration::from_secs(20);

/// One call or frame, in the order of arrival.
#[derive(Clone, Debug)]
pub enum Heard {
    Call(String, Value),
    /// The query of an ACS upgrade.
    Acs(String),
    Frame(AcsMessage),
    Tcs(String),
    Telemetry(TcsMessage),
}

#[derive(Default)]
struct State {
    heard: Vec<Heard>,
    /// Answers that come before the usual ones: operation, status, body.
    prepared: VecDeque<(String, u16, Value)>,
    acs: Option<mpsc::UnboundedSender<Message>>,
    problems: Vec<String>,
}

#[derive(Clone)]
pub struct Stub {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Stub {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stub = Self { url, state: Arc::default() };
        let serving = stub.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let stub = serving.clone();
                let service = service_fn(move |request| {
                    let stub = stub.clone();
                    async move { Ok::<_, Infallible>(stub.answer(request).await) }
                });
                tokio::spawn(async move {
                    let serving = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    drop(serving.with_upgrades().await);
                });
            }
        });
        stub
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn note(&self, heard: Heard) {
        self.state().heard.push(heard);
    }

    /// The next call of this operation gets this answer.
    pub fn prepare(&self, operation: &str, status: u16, body: Value) {
        self.state().prepared.push_back((operation.to_owned(), status, body));
    }

    pub fn send(&self, text: &str) {
        let acs = self.state().acs.clone().expect("an ACS session");
        acs.send(Message::text(text)).unwrap();
    }

    pub fn payload(&self, message_id: &str, tasks: &Value) {
        let message = json!({"messageId": message_id, "clusterArn": "c", "containerInstanceArn": INSTANCE, "tasks": tasks});
        self.send(&json!({"type": "PayloadMessage", "message": message}).to_string());
    }

    /// Closes the ACS session with this code.
    pub fn close(&self, code: u16) {
        let acs = self.state().acs.take().expect("an ACS session");
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        acs.send(Message::Close(Some(frame))).unwrap();
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.state().heard.clone()
    }

    /// Waits until `find` finds something in what was heard so far.
    pub async fn wait<T>(&self, what: &str, find: impl Fn(&[Heard]) -> Option<T>) -> T {
        let until = Instant::now() + DEADLINE;
        loop {
            let problems = std::mem::take(&mut self.state().problems);
            assert!(problems.is_empty(), "{problems:?}");
            if let Some(found) = find(&self.state().heard) {
                return found;
            }
            assert!(Instant::now() < until, "no {what} in {DEADLINE:?}; heard {:#?}", self.heard());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits for the `n`th session, counted from one, and gives its query.
    pub async fn session(&self, n: usize) -> String {
        self.wait("session", |heard| {
            heard
                .iter()
                .filter_map(|h| if let Heard::Acs(query) = h { Some(query.clone()) } else { None })
                .nth(n - 1)
        })
        .await
    }

    /// Waits for a report of this task with this status.
    pub async fn report(&self, task: &str, status: &str) -> Value {
        self.wait(&format!("report of {task} {status}"), |heard| {
            reports(heard).into_iter().find(|r| r["task"] == task && r["status"] == status)
        })
        .await
    }

    pub async fn frame(&self, name: &str) -> AcsMessage {
        self.wait(name, |heard| {
            heard.iter().find_map(|h| match h {
                Heard::Frame(frame) if frame.name() == name => Some(frame.clone()),
                _ => None,
            })
        })
        .await
    }

    pub fn calls(&self, operation: &str) -> Vec<Value> {
        calls(&self.heard(), operation)
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path().ends_with("/ws") { self.upgrade(request) } else { self.call(request).await }
    }

    /// Every request must be signed by the agent's key.
    fn verify(&self, head: &http::request::Parts, body: &[u8]) {
        let parts = Parts {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
        };
        let result = match Signed::parse(&parts) {
            Ok(Some(signed)) => signed.verify(&parts, body, SECRET, now()).map_err(|e| e.to_string()),
            Ok(None) => Err("not signed".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = result {
            self.state().problems.push(format!("{}: {error}", head.uri));
        }
    }

    async fn call(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        self.verify(&head, &body);
        let target = head.headers["x-amz-target"].to_str().unwrap();
        let operation = target.rsplit('.').next().unwrap().to_owned();
        let request: Value = serde_json::from_slice(&body).unwrap();
        let (status, reply) =
            self.prepared(&operation).unwrap_or_else(|| (200, self.usual(&operation, &request)));
        self.note(Heard::Call(operation, request));
        let mut response = Response::new(Full::new(Bytes::from(reply.to_string())));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }

    fn prepared(&self, operation: &str) -> Option<(u16, Value)> {
        let mut state = self.state();
        let position = state.prepared.iter().position(|(o, _, _)| o == operation)?;
        state.prepared.remove(position).map(|(_, status, body)| (status, body))
    }

    fn usual(&self, operation: &str, request: &Value) -> Value {
        match operation {
            "RegisterContainerInstance" => {
                json!({"containerInstance": {"containerInstanceArn": INSTANCE, "attributes": request["attributes"]}})
            }
            "DiscoverPollEndpoint" => {
                json!({"endpoint": format!("{}/acs", self.url), "telemetryEndpoint": format!("{}/tcs/", self.url)})
            }
            "SubmitTaskStateChange" => json!({"acknowledgment": "ok"}),
            "GetAuthorizationToken" => {
                // AWS:password
                let expires = now().after(Duration::from_secs(12 * 3600)).seconds();
                json!({"authorizationData": [{"authorizationToken": "QVdTOnBhc3N3b3Jk", "expiresAt": expires}]})
            }
            _ => json!({}),
        }
    }

    fn upgrade(self, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (mut head, ()) = Request::builder().uri(request.uri()).body(()).unwrap().into_parts();
        head.headers.clone_from(request.headers());
        self.verify(&head, b"");
        let accept = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
        let uri = request.uri().clone();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = TokioIo::new(upgrade.await.unwrap());
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            let query = uri.query().unwrap_or_default().to_owned();
            if uri.path() == "/acs/ws" {
                self.serve_acs(socket, query).await;
            } else {
                self.serve_tcs(socket, query, &uri).await;
            }
        });
        let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let response = response.header("connection", "Upgrade").header("upgrade", "websocket");
        response.header("sec-websocket-accept", accept).body(Full::default()).unwrap()
    }

    async fn serve_acs(self, mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>, query: String) {
        let (sender, mut outgoing) = mpsc::unbounded_channel();
        self.state().acs = Some(sender);
        self.note(Heard::Acs(query));
        loop {
            tokio::select! {
                Some(message) = outgoing.recv() => {
                    let closes = message.is_close();
                    if socket.send(message).await.is_err() || closes {
                        return;
                    }
                }
                received = socket.next() => match received {
                    Some(Ok(Message::Text(text))) => self.note(Heard::Frame(AcsMessage::decode(&text).unwrap())),
                    Some(Ok(_)) => {}
                    _ => return,
                }
            }
        }
    }

    async fn serve_tcs(
        self,
        mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
        query: String,
        uri: &http::Uri,
    ) {
        self.note(Heard::Tcs(query));
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let frame = SignedFrame::parse(&text).unwrap();
            let mut signed = Request::builder().uri(uri);
            for (name, value) in &frame.headers {
                signed = signed.header(*name, *value);
            }
            let (head, ()) = signed.body(()).unwrap().into_parts();
            self.verify(&head, frame.body.as_bytes());
            self.note(Heard::Telemetry(TcsMessage::decode(frame.body).unwrap()));
        }
    }
}

pub fn calls(heard: &[Heard], operation: &str) -> Vec<Value> {
    let calls = heard.iter().filter_map(|h| match h {
        Heard::Call(name, request) if name == operation => Some(request.clone()),
        _ => None,
    });
    calls.collect()
}

pub fn reports(heard: &[Heard]) -> Vec<Value> {
    calls(heard, "SubmitTaskStateChange")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

/// An agent that runs in the background of a test.
pub struct RunningAgent {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), AgentError>>,
}

impl RunningAgent {
    pub fn start(config: AgentConfig, runtime: &Simulated) -> Self {
        let (stop, stopped) = oneshot::channel();
        let runtime = Arc::new(runtime.clone());
        let running = tokio::spawn(agent::run(config, runtime, async move { drop(stopped.await) }));
        Self { stop, running }
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        ended(self.running).await.unwrap();
    }

    /// Waits until it ends by itself.
    pub async fn end(self) -> Result<(), AgentError> {
        ended(self.running).await
    }

    /// As a crash: nothing is told to anyone.
    pub async fn abort(self) {
        self.running.abort();
        drop(self.running.await);
    }
}

async fn ended(running: JoinHandle<Result<(), AgentError>>) -> Result<(), AgentError> {
    tokio::time::timeout(DEADLINE, running).await.expect("the agent ends").unwrap()
}

pub fn config(stub: &Stub, data_dir: &Path) -> AgentConfig {
    let credentials = Credentials {
        access_key_id: "AKID".into(),
        secret_access_key: SECRET.into(),
        session_token: Some("token".into()),
    };
    AgentConfig::new(stub.url.clone(), "us-east-1".into(), credentials, data_dir.to_owned())
}
