//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Amazon ECS and ECR as software that anyone can run.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the control plane, the registry, the log service and an agent for this machine, in the foreground
    Up(Up),
    /// Start an agent that registers this machine in a cluster
    Agent(Agent),
    /// Print the lines that point the AWS CLI and SDKs at a running Wharf: eval "$(wharf env)"
    Env(Env),
    /// Print the local logs of a task that runs, or ran, on this machine
    Logs(Logs),
    /// Build an image, push it, run it as a task and fetch its answer
    Demo(Demo),
}

/// Where a Wharf lives, and what it is called.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Directory for all data [default: /var/lib/wharf, or ~/.local/share/wharf without root]
    #[arg(long, value_name = "DIR", env = "WHARF_DATA")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Address of the AWS APIs and the registry
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4566")]
    pub(crate) listen: SocketAddr,
    /// Region of requests that name none, and of `wharf env`
    #[arg(long, default_value = "us-east-1")]
    pub(crate) region: String,
    /// Account of the root access key
    #[arg(long, default_value = "123456789012")]
    pub(crate) account: String,
    /// Host in repository URIs, with {account}, {region} and {port}
    #[arg(long, value_name = "TEMPLATE", default_value = "localhost:{port}")]
    pub(crate) registry_host: String,
    /// What becomes of running tasks when Wharf ends
    #[arg(long, value_enum, default_value_t = OnExit::Stop)]
    pub(crate) on_exit: OnExit,
    /// Write this file once everything is served
    #[arg(long, value_name = "PATH")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Accept every access key; a 12-digit key id names the account (loopback addresses only)
    #[arg(long)]
    pub(crate) any_credentials: bool,
    /// How tasks run
    #[arg(long, value_enum, default_value_t = Driver::Builtin)]
    pub(crate) runtime: Driver,
    /// Do not start an agent for this machine
    #[arg(long)]
    pub(crate) no_agent: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Agent {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Cluster to register in [default: ECS_CLUSTER, or default]
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// Base URL of the control plane [default: ECS_BACKEND_HOST]
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// Region that requests are signed for [default: AWS_DEFAULT_REGION, or us-east-1]
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// What becomes of running tasks when the agent ends
    #[arg(long, value_enum, default_value_t = OnExit::Keep)]
    pub(crate) on_exit: OnExit,
    /// How tasks run
    #[arg(long, value_enum, default_value_t = Driver::Builtin)]
    pub(crate) runtime: Driver,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Env {
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// ARN or id of the task
    pub(crate) task: String,
    /// Go on printing until the task's containers have ended
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Demo {
    /// End when the tour is over instead of leaving the system running
    #[arg(long)]
    pub(crate) exit: bool,
    /// Address of the AWS APIs and the registry
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4566")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnExit {
    /// Stop them as StopTask would
    Stop,
    /// Leave them running; the next start finds them
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Driver {
    /// Real containers, with nothing installed
    Builtin,
    /// A clockwork without containers, for test suites
    Simulated,
}
