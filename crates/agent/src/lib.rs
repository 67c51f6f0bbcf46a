//! Drives the engine with a runtime and speaks ACS and TCS: the agent of a container instance.
//!
//! It calls the control plane like any client of AWS, and behaves on the wire like amazon-ecs-agent.

mod acs;
mod client;
mod clock;
mod config;
mod convert;
mod dial;
mod driver;
mod ecr;
mod endpoints;
mod error;
mod executor;
mod logs;
mod register;
mod session;
mod state;
mod stats;
mod tcs;
mod websocket;

pub use client::{Call, Client};
pub use config::{AgentConfig, Credentials, OnExit, Problem, PullBehavior, parse_ecs_config};
pub use error::{AgentError, CallError};

use driver::{Driver, Work};
use engine::{Engine, Input};
use executor::Executor;
use logs::{LogShipping, RoleCredentials};
use runtime::Runtime;
use session::{Agent, EngineHandle};
use state::DataDir;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Registers this machine and runs what the control plane gives it until `shutdown` is ready, then ends as
/// [`AgentConfig::on_exit`] says, the runtime included. After an error the runtime is left as it is.
pub async fn run<R: Runtime + ?Sized>(
    config: AgentConfig,
    runtime: Arc<R>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), AgentError> {
    let keep = config.on_exit == OnExit::Keep;
    let data = DataDir::open(&config.data_dir)?;
    let mut shutdown = std::pin::pin!(shutdown);
    let resources = register::resources(&config)?;
    let client = Client::new(config.region.clone(), config.credentials.clone());
    let registered = tokio::select! {
        registered = register::register(&config, &client, &data, (&resources, runtime.info().name)) => registered?,
        () = &mut shutdown => return runtime.shutdown(keep).await.map_err(AgentError::Runtime),
    };
    let (handle, events) = EngineHandle::channel();
    let settings = engine::Config {
        cluster: config.cluster.clone(),
        container_instance_arn: registered.container_instance_arn.clone(),
        region: config.region.clone(),
        resources,
        stop_timeout: config.stop_timeout,
        cleanup_wait: config.cleanup_wait,
        ..engine::Config::default()
    };
    let info = runtime.info();
    let agent = Arc::new(Agent {
        config,
        identity: registered,
        client,
        endpoints: endpoints::PollEndpoints::default(),
        runtime_version: format!("{} {}", info.name, info.version),
        engine: handle,
        heartbeats: AtomicU64::new(0),
    });
    let outbox = acs::Outbox::default();
    let out = outbox.clone();
    let (checkpoint, journal) = data.journal(move |message| out.send(message))?;
    let roles = RoleCredentials::default();
    // Listening begins before the list is made, so that no end falls between the two.
    let exits = runtime.events();
    let found = runtime.list().await.map_err(AgentError::Runtime)?;
    let mut driver = Driver {
        engine: Engine::new(settings, clock::seed(), checkpoint),
        events,
        exits,
        journal,
        executor: Arc::new(executor(&agent, &data, runtime.clone(), roles.clone())),
        agent: agent.clone(),
        roles,
        work: Work::default(),
    };
    driver.resume_logs();
    driver.step(Input::Recovered(found.into_iter().map(convert::found).collect()));
    let (inactive, told) = mpsc::channel(1);
    let mut sessions = JoinSet::new();
    sessions.spawn(acs::run(agent.clone(), outbox, inactive));
    sessions.spawn(tcs::run(agent, runtime.clone(), told));
    driver.run(shutdown).await;
    sessions.shutdown().await;
    runtime.shutdown(keep).await.map_err(AgentError::Runtime)
}

fn executor<R: Runtime + ?Sized>(
    agent: &Agent,
    data: &DataDir,
    runtime: Arc<R>,
    roles: RoleCredentials,
) -> Executor<R> {
    let (config, client) = (&agent.config, &agent.client);
    let ecr = config.ecr_endpoint.clone().unwrap_or_else(|| config.endpoint.clone());
    let logs = config.logs_endpoint.clone().unwrap_or_else(|| config.endpoint.clone());
    Executor {
        runtime,
        data_dir: data.path().to_owned(),
        pull_behavior: config.pull_behavior,
        tokens: ecr::RegistryTokens::new(client.clone(), ecr),
        logs: LogShipping::new(client.clone(), logs, data.path().join("logs"), roles),
    }
}
