//! `wharf agent`: this machine as a container instance of a control plane elsewhere.

use crate::cli::Agent;
use crate::up::{on_exit, open_runtime, signal};
use agent::{AgentConfig, Problem};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::sync::oneshot;

/// Where Amazon's agent is configured, too.
const CONFIG_FILE: &str = "/etc/ecs/ecs.config";

pub(crate) async fn run(arguments: &Agent) -> Result<()> {
    let config = config(arguments)?;
    let runtime = open_runtime(arguments.runtime, &arguments.place.data(), &config.endpoint, None).await?;
    let (end, ended) = oneshot::channel();
    let mut running = tokio::spawn(agent::run(config, runtime, async { drop(ended.await) }));
    tokio::select! {
        ended = &mut running => {
            ended??;
            bail!("the agent has ended");
        }
        signal = signal() => signal?,
    }
    end.send(()).ok();
    Ok(running.await??)
}

/// Flags win over the environment, which wins over the file.
fn config(arguments: &Agent) -> Result<AgentConfig> {
    let mut settings = file_settings(Path::new(CONFIG_FILE))?;
    settings
        .extend(std::env::vars().filter(|(name, _)| name.starts_with("ECS_") || name.starts_with("AWS_")));
    let data_dir = arguments.place.data().join("agent").display().to_string();
    settings.entry("ECS_DATADIR".to_owned()).or_insert(data_dir);
    let flags = [
        ("ECS_BACKEND_HOST", &arguments.endpoint),
        ("ECS_CLUSTER", &arguments.cluster),
        ("AWS_DEFAULT_REGION", &arguments.region),
    ];
    for (name, value) in flags {
        settings.extend(value.clone().map(|value| (name.to_owned(), value)));
    }
    let mut config = AgentConfig::from_settings(&settings).map_err(|problems| {
        anyhow::anyhow!(
            "settings of the agent that cannot be used (`wharf env` prints the credentials):\n{}",
            lines(&problems)
        )
    })?;
    config.on_exit = on_exit(arguments.on_exit);
    Ok(config)
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn file_settings(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    agent::parse_ecs_config(&text)
        .map_err(|problems| anyhow::anyhow!("{} cannot be used:\n{}", path.display(), lines(&problems)))
}
