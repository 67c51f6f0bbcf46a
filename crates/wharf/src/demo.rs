//! `wharf demo`: the tour from an image to a running task's answer and logs, through the same APIs that a user calls.

use crate::cli::{Demo, Driver, OnExit, Up};
use crate::place::Endpoint;
use crate::up::{Wharf, signal};
use agent::{Call, CallError, Client};
use anyhow::{Context, Result, bail};
use api::{ecr, ecs, logs};
use base64::Engine as _;
use image::build::{BuiltImage, Format, LayerWriter, Run};
use image::{Credentials, Hosts, Platform, Pusher, Reference};
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::{Decode, Encode, Service};

/// The container's program: a static file, so that the image holds nothing else.
static HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));

/// The repository, family and log group of the demo.
const NAME: &str = "wharf-demo";
const PORT: i32 = 8080;
/// How long the task may take to run, and its log lines to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts Wharf, gives the tour, and leaves it running or ends it.
pub(crate) async fn run(arguments: &Demo) -> Result<()> {
    let start = Instant::now();
    let up = Up {
        place: arguments.place.clone(),
        listen: arguments.listen,
        region: "us-east-1".to_owned(),
        account: "123456789012".to_owned(),
        registry_host: "localhost:{port}".to_owned(),
        on_exit: OnExit::Stop,
        ready_file: None,
        any_credentials: false,
        runtime: Driver::Builtin,
        no_agent: false,
    };
    let mut wharf = Wharf::start(&up).await?;
    say(&format!("Wharf serves {} (started in {} ms)", wharf.endpoint.url, start.elapsed().as_millis()))?;
    let tour = Tour::new(&wharf);
    let shown = tokio::select! {
        shown = tour.give() => shown,
        ended = wharf.agent_ended() => ended,
        interrupted = signal() => interrupted.and_then(|()| bail!("interrupted")),
    };
    if shown.is_err() || arguments.exit {
        wharf.stop().await;
        return shown;
    }
    say(&next_steps(arguments))?;
    let ended = wharf.run_until_signal().await;
    say("stopping the task and Wharf")?;
    wharf.stop().await;
    ended
}

fn next_steps(arguments: &Demo) -> String {
    let data =
        arguments.place.data.as_ref().map_or_else(String::new, |data| format!(" --data {}", data.display()));
    let program =
        std::env::current_exe().map_or_else(|_| "wharf".to_owned(), |path| path.display().to_string());
    format!(
        "\nIt goes on running until Ctrl-C. In another terminal, try:\n\n  \
         eval \"$({program} env{data})\"\n  \
         aws ecs list-tasks\n  \
         aws ecr describe-images --repository-name {NAME}\n  \
         aws logs tail /{NAME} --follow\n  \
         aws ecs run-task --task-definition {NAME}\n"
    )
}

struct Tour {
    client: Client,
    endpoint: Endpoint,
}

impl Tour {
    fn new(wharf: &Wharf) -> Self {
        let credentials = agent::Credentials {
            access_key_id: wharf.root_key.access_key_id.clone(),
            secret_access_key: wharf.root_key.secret_access_key.clone(),
            session_token: None,
        };
        Self {
            client: Client::new(wharf.endpoint.region.clone(), credentials),
            endpoint: wharf.endpoint.clone(),
        }
    }

    async fn give(&self) -> Result<()> {
        let repository = self.create_repository().await.context("creating the repository")?;
        say(&format!("created the repository {repository}"))?;
        let image = format!("{repository}:latest");
        let built = build()?;
        let size: u64 = built.blobs.iter().map(|blob| blob.descriptor.size).sum();
        say(&format!("built an image of {} KiB from one static program", size / 1024))?;
        self.push(&built, &image).await.context("pushing the image")?;
        say(&format!("pushed {image}"))?;
        let definition = self.register(&image).await.context("registering the task definition")?;
        say(&format!("registered the task definition {definition}"))?;
        let start = Instant::now();
        let task = self.run_task(&definition).await.context("running the task")?;
        let running = self.wait_until_running(&task).await?;
        say(&format!("the task is RUNNING after {} ms: {task}", start.elapsed().as_millis()))?;
        let port = published_port(&running).context("the task publishes no port")?;
        let answer =
            fetch_when_it_listens(port).await.with_context(|| format!("fetching from port {port}"))?;
        say(&format!("http://127.0.0.1:{port} answers: {}", answer.trim_end()))?;
        let lines = self.wait_for_logs(&task).await?;
        say(&format!("its logs in CloudWatch Logs, group /{NAME}:"))?;
        lines.iter().try_for_each(|line| say(&format!("  {line}")))
    }

    async fn create_repository(&self) -> Result<String> {
        let request = ecr::CreateRepositoryRequest {
            repository_name: NAME.to_owned(),
            ..ecr::CreateRepositoryRequest::default()
        };
        let created: Result<ecr::CreateRepositoryResponse, CallError> =
            self.call(&ecr::SERVICE, "CreateRepository", &request).await;
        let repository = match created {
            Ok(response) => response.repository,
            Err(error) if error.code() == Some("RepositoryAlreadyExistsException") => {
                let request = ecr::DescribeRepositoriesRequest {
                    repository_names: Some(vec![NAME.to_owned()]),
                    ..ecr::DescribeRepositoriesRequest::default()
                };
                let response: ecr::DescribeRepositoriesResponse =
                    self.call(&ecr::SERVICE, "DescribeRepositories", &request).await?;
                response.repositories.and_then(|all| all.into_iter().next())
            }
            Err(error) => return Err(error.into()),
        };
        repository.and_then(|r| r.repository_uri).context("the reply names no repository URI")
    }

    async fn push(&self, built: &BuiltImage, image: &str) -> Result<()> {
        let request = ecr::GetAuthorizationTokenRequest::default();
        let response: ecr::GetAuthorizationTokenResponse =
            self.call(&ecr::SERVICE, "GetAuthorizationToken", &request).await?;
        let data = response.authorization_data.and_then(|all| all.into_iter().next());
        let token = data.and_then(|d| d.authorization_token).context("the reply holds no token")?;
        let login = base64::engine::general_purpose::STANDARD
            .decode(token)
            .ok()
            .context("the token is not base64")?;
        let login = String::from_utf8(login)?;
        let (username, password) = login.split_once(':').context("the token is not user:password")?;
        let credentials = Credentials::Basic { username: username.to_owned(), password: password.to_owned() };
        Pusher::new(Hosts::default()).push(built, &Reference::parse(image)?, &credentials).await?;
        Ok(())
    }

    async fn register(&self, image: &str) -> Result<String> {
        let log_options = [
            ("awslogs-group", format!("/{NAME}")),
            ("awslogs-region", self.endpoint.region.clone()),
            ("awslogs-stream-prefix", "demo".to_owned()),
            ("awslogs-create-group", "true".to_owned()),
        ];
        let container = ecs::ContainerDefinition {
            name: Some("hello".to_owned()),
            image: Some(image.to_owned()),
            memory: Some(32),
            environment: Some(vec![ecs::KeyValuePair {
                name: Some("GREETING".to_owned()),
                value: Some("Hello".to_owned()),
            }]),
            port_mappings: Some(vec![ecs::PortMapping {
                container_port: Some(PORT),
                ..ecs::PortMapping::default()
            }]),
            log_configuration: Some(ecs::LogConfiguration {
                log_driver: ecs::LogDriver::Awslogs,
                options: Some(log_options.map(|(name, value)| (name.to_owned(), value)).into()),
                secret_options: None,
            }),
            ..ecs::ContainerDefinition::default()
        };
        let request = ecs::RegisterTaskDefinitionRequest {
            family: NAME.to_owned(),
            container_definitions: vec![container],
            ..ecs::RegisterTaskDefinitionRequest::default()
        };
        let response: ecs::RegisterTaskDefinitionResponse =
            self.call(&ecs::SERVICE, "RegisterTaskDefinition", &request).await?;
        let arn = response.task_definition.and_then(|definition| definition.task_definition_arn);
        arn.context("the reply holds no task definition")
    }

    /// Runs the task as soon as the agent of this machine has joined the cluster.
    async fn run_task(&self, definition: &str) -> Result<String> {
        let request =
            ecs::RunTaskRequest { task_definition: definition.to_owned(), ..ecs::RunTaskRequest::default() };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let response: Result<ecs::RunTaskResponse, CallError> =
                self.call(&ecs::SERVICE, "RunTask", &request).await;
            let is_early = match response {
                Ok(response) => {
                    let task = response.tasks.and_then(|tasks| tasks.into_iter().next());
                    if let Some(arn) = task.and_then(|task| task.task_arn) {
                        return Ok(arn);
                    }
                    let failure = response.failures.and_then(|failures| failures.into_iter().next());
                    let reason = failure.and_then(|failure| failure.reason).unwrap_or_default();
                    if reason != "AGENT" {
                        bail!("no instance could take the task: {reason}");
                    }
                    true
                }
                Err(error) if error.to_string().contains("No Container Instances were found") => true,
                Err(error) => return Err(error.into()),
            };
            if is_early && Instant::now() > deadline {
                bail!("this machine's agent has not joined the cluster");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn wait_until_running(&self, arn: &str) -> Result<ecs::Task> {
        let request =
            ecs::DescribeTasksRequest { tasks: vec![arn.to_owned()], ..ecs::DescribeTasksRequest::default() };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let response: ecs::DescribeTasksResponse =
                self.call(&ecs::SERVICE, "DescribeTasks", &request).await?;
            let task =
                response.tasks.and_then(|tasks| tasks.into_iter().next()).context("the task is gone")?;
            match task.last_status.as_deref() {
                Some("RUNNING") => return Ok(task),
                Some("STOPPED") => {
                    let reasons =
                        task.containers.iter().flatten().filter_map(|container| container.reason.clone());
                    let reasons: Vec<String> =
                        task.stopped_reason.clone().into_iter().chain(reasons).collect();
                    bail!("the task stopped instead of running: {}", reasons.join("; "));
                }
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        bail!("the task is not RUNNING after {} s", PATIENCE.as_secs())
    }

    async fn wait_for_logs(&self, task: &str) -> Result<Vec<String>> {
        let id = task.rsplit('/').next().unwrap_or(task);
        let request = logs::GetLogEventsRequest {
            log_group_name: Some(format!("/{NAME}")),
            log_stream_name: format!("demo/hello/{id}"),
            start_from_head: Some(true),
            ..logs::GetLogEventsRequest::default()
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let response: Result<logs::GetLogEventsResponse, CallError> =
                self.call(&logs::SERVICE, "GetLogEvents", &request).await;
            match response {
                Ok(response) => {
                    let events = response.events.unwrap_or_default();
                    // The greeting of the start and the line of the request that was made.
                    if events.len() >= 2 {
                        return Ok(events.into_iter().filter_map(|event| event.message).collect());
                    }
                }
                Err(error) if error.code() == Some("ResourceNotFoundException") => {}
                Err(error) => return Err(error).context("reading the logs"),
            }
            if Instant::now() > deadline {
                bail!("no log lines arrived within {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn call<O: Decode>(
        &self,
        service: &'static Service,
        operation: &'static str,
        input: &(dyn Encode + Sync),
    ) -> Result<O, CallError> {
        self.client.call(Call { endpoint: &self.endpoint.url, service, operation }, input).await
    }
}

/// An image whose only file is the container's program.
fn build() -> Result<BuiltImage> {
    let mut layer = LayerWriter::in_memory();
    layer.file("hello", HELLO, 0o755)?;
    let run = Run {
        entrypoint: vec!["/hello".to_owned()],
        exposed_ports: vec![format!("{PORT}/tcp")],
        ..Run::default()
    };
    Ok(BuiltImage::new(Format::Oci, Platform::host(), &run, vec![layer.finish()?])?)
}

fn published_port(task: &ecs::Task) -> Option<u16> {
    let bindings =
        task.containers.iter().flatten().flat_map(|container| container.network_bindings.iter().flatten());
    bindings.filter_map(|binding| binding.host_port).find_map(|port| u16::try_from(port).ok())
}

/// A task is RUNNING when its process runs, which is a moment before a server in it listens.
async fn fetch_when_it_listens(port: u16) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fetch(port).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(10)).await,
            answer => return answer,
        }
    }
}

/// Fetches `/` from a port of this machine and gives the body.
async fn fetch(port: u16) -> Result<String> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut reply = String::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut reply)).await??;
    let (head, body) = reply.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("the answer is {head}");
    }
    Ok(body.to_owned())
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
