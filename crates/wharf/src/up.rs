//! `wharf up`: the whole system in one process, in the foreground.

use crate::cli::{Driver, OnExit, Place, Up};
use crate::env::chosen_key;
use crate::place::Endpoint;
use agent::{AgentConfig, Credentials};
use anyhow::{Context, Result, bail};
use image::{BlobSource, HostRule};
use runtime::{Builtin, BuiltinConfig, Runtime, Simulated};
use server::{AccountId, BlobStore, Region, RootKey, Server, ServerConfig};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A Wharf that runs in this process.
pub(crate) struct Wharf {
    server: Server,
    agent: Option<RunningAgent>,
    arguments: Up,
    pub(crate) endpoint: Endpoint,
    pub(crate) root_key: RootKey,
}

struct RunningAgent {
    end: oneshot::Sender<()>,
    running: JoinHandle<Result<(), agent::AgentError>>,
}

/// Starts, serves until a signal comes, and stops cleanly.
pub(crate) async fn run(arguments: &Up) -> Result<()> {
    let mut wharf = Wharf::start(arguments).await?;
    if let Some(path) = &arguments.ready_file {
        std::fs::write(path, format!("{}\n", wharf.endpoint.url))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    tracing::info!(url = %wharf.endpoint.url, "Wharf is up; point the AWS CLI at it with: eval \"$(wharf env)\"");
    let ended = wharf.run_until_signal().await;
    tracing::info!("stopping");
    wharf.stop().await;
    ended
}

impl Wharf {
    /// Starts the server, makes the cluster `default`, and starts an agent for this machine in it.
    pub(crate) async fn start(arguments: &Up) -> Result<Self> {
        let region = Region::parse(&arguments.region).with_context(|| {
            format!("{:?} is not a Region: lower-case letters, digits and hyphens", arguments.region)
        })?;
        let account = AccountId::parse(&arguments.account)
            .with_context(|| format!("{:?} is not an account: twelve digits", arguments.account))?;
        let data = arguments.place.data();
        let root_key = chosen_key().map_or_else(|| RootKey::kept(&data), Ok)?;
        let server = Server::start(ServerConfig {
            data: data.clone(),
            listen: arguments.listen,
            account,
            region,
            registry_host: arguments.registry_host.clone(),
            root_key: root_key.clone(),
            any_credentials: arguments.any_credentials,
        })
        .await?;
        let endpoint = Endpoint {
            url: format!("http://{}", reachable(server.address())),
            region: arguments.region.clone(),
        };
        arguments.place.write_endpoint(&endpoint)?;
        let mut wharf = Self { server, agent: None, arguments: arguments.clone(), endpoint, root_key };
        wharf.start_agent().await?;
        Ok(wharf)
    }

    async fn start_agent(&mut self) -> Result<()> {
        if self.arguments.no_agent {
            return Ok(());
        }
        let mut config = agent_config(&self.endpoint, &self.root_key, &self.arguments.place);
        config.on_exit = on_exit(self.arguments.on_exit);
        let data = self.arguments.place.data();
        let blobs = Some(self.server.blobs());
        let runtime = open_runtime(self.arguments.runtime, &data, &self.endpoint.url, blobs).await?;
        self.agent = Some(run_agent(config, runtime));
        Ok(())
    }

    /// Serves until SIGTERM or Ctrl-C; an error if the agent fails before.
    pub(crate) async fn run_until_signal(&mut self) -> Result<()> {
        loop {
            tokio::select! {
                signal = signal() => return signal,
                () = self.server.reset() => {}
                ended = agent_ended(&mut self.agent) => return ended,
            }
            self.begin_again().await?;
        }
    }

    /// After a reset this machine is unknown: its tasks end, and it registers anew.
    async fn begin_again(&mut self) -> Result<()> {
        self.stop_agent().await;
        let directory = self.arguments.place.data().join("agent");
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot empty {}", directory.display()))
            }
            _ => self.start_agent().await,
        }
    }

    /// Ends when the agent does, which it does by itself only when it failed.
    pub(crate) async fn agent_ended(&mut self) -> Result<()> {
        agent_ended(&mut self.agent).await
    }

    async fn stop_agent(&mut self) {
        let Some(agent) = self.agent.take() else { return };
        agent.end.send(()).ok();
        if let Ok(Err(error)) = agent.running.await {
            tracing::error!(error = %stdx::Chain(&error), "the agent did not end cleanly");
        }
    }

    /// Ends the agent first, so that the control plane learns what becomes of its tasks.
    pub(crate) async fn stop(mut self) {
        // An agent that has ended by itself has been waited for already.
        if self.agent.as_ref().is_some_and(|agent| !agent.running.is_finished()) {
            self.stop_agent().await;
        }
        self.server.stop().await;
    }
}

async fn agent_ended(agent: &mut Option<RunningAgent>) -> Result<()> {
    match agent {
        Some(agent) => match (&mut agent.running).await {
            Ok(Ok(())) => bail!("the agent has ended"),
            Ok(Err(error)) => Err(error).context("the agent has ended"),
            Err(error) => Err(error).context("the agent broke down"),
        },
        None => std::future::pending().await,
    }
}

fn run_agent(config: AgentConfig, runtime: Arc<dyn Runtime>) -> RunningAgent {
    let (end, ended) = oneshot::channel();
    RunningAgent { end, running: tokio::spawn(agent::run(config, runtime, async { drop(ended.await) })) }
}

fn agent_config(endpoint: &Endpoint, key: &RootKey, place: &Place) -> AgentConfig {
    let credentials = Credentials {
        access_key_id: key.access_key_id.clone(),
        secret_access_key: key.secret_access_key.clone(),
        session_token: None,
    };
    AgentConfig::new(endpoint.url.clone(), endpoint.region.clone(), credentials, place.data().join("agent"))
}

/// The address under which clients on this machine reach the listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], address.port())) } else { address }
}

pub(crate) fn on_exit(choice: OnExit) -> agent::OnExit {
    match choice {
        OnExit::Stop => agent::OnExit::Stop,
        OnExit::Keep => agent::OnExit::Keep,
    }
}

/// Opens the driver that runs containers. Images of ECR's host names come from the registry at `endpoint`, so that no
/// name has to resolve, and straight from `blobs` where the registry is on this machine.
pub(crate) async fn open_runtime(
    driver: Driver,
    data: &Path,
    endpoint: &str,
    blobs: Option<&BlobStore>,
) -> Result<Arc<dyn Runtime>> {
    let directory = data.join("runtime");
    if driver == Driver::Simulated {
        return Ok(Arc::new(Simulated::new(Some(directory))));
    }
    let mut config = BuiltinConfig::new(directory);
    let endpoint: http::Uri = endpoint.parse().with_context(|| format!("{endpoint} is not a URL"))?;
    let authority = endpoint.authority().map(ToString::to_string).unwrap_or_default();
    let port = endpoint.port_u16().unwrap_or(80);
    let localhost = format!("localhost:{port}");
    let patterns =
        ["*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.localhost", "*.dkr-ecr.*.on.aws", &authority, &localhost];
    let rule = |pattern: &str| HostRule {
        pattern: pattern.to_owned(),
        endpoint: endpoint.clone(),
        blobs: blobs.map(|blobs| Arc::new(blobs.clone()) as Arc<dyn BlobSource>),
    };
    config.hosts.rules = patterns.into_iter().map(rule).collect();
    let opened = tokio::task::spawn_blocking(|| Builtin::open(config)).await?;
    Ok(Arc::new(
        opened.context("tasks cannot run on this machine (--runtime simulated needs nothing of it)")?,
    ))
}

/// Waits for SIGTERM or Ctrl-C.
pub(crate) async fn signal() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
