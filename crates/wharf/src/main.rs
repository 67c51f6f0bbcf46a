//! The `wharf` binary: server, agent and the operator's commands.

mod agent_command;
mod cli;
mod demo;
mod env;
mod place;
mod task_logs;
mod up;

use anyhow::{Context, Result};
use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else, above all before any thread: the process may have been started as the keeper of containers.
    runtime::enter_if_asked();
    let command = Cli::parse().command;
    start_logging(&command);
    match run(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Env(arguments) => env::run(arguments),
        Command::Logs(arguments) => task_logs::run(arguments),
        Command::Up(arguments) => block_on(up::run(arguments)),
        Command::Agent(arguments) => block_on(agent_command::run(arguments)),
        Command::Demo(arguments) => block_on(demo::run(arguments)),
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(work)
}

/// Logs to standard error; `WHARF_LOG` is `error`, `warn`, `info`, `debug` or `trace`.
fn start_logging(command: &Command) {
    let quiet = matches!(command, Command::Demo(_) | Command::Env(_) | Command::Logs(_));
    let default = if quiet { tracing::Level::WARN } else { tracing::Level::INFO };
    let level = std::env::var("WHARF_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(default);
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false).init();
}
