//! `wharf agent`: this machine as a container instance of a control plane elsewhere.

use crate::cli::Agent;
use crate::up::{on_exit, open_runtime, signal};
use agent::{AgentConfig, Credentials};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::sync::watch;

/// Where Amazon's agent is configured, too.
const CONFIG_FILE: &str = "/etc/ecs/ecs.config";

pub(crate) async fn run(arguments: &Agent) -> Result<()> {
    let config = config(arguments)?;
    let runtime = open_runtime(arguments.runtime, &arguments.place.data()).await?;
    let (end, ended) = watch::channel(false);
    let mut running = tokio::spawn(agent::run(config, runtime, ended));
    tokio::select! {
        ended = &mut running => {
            ended??;
            bail!("the agent has ended");
        }
        signal = signal() => signal?,
    }
    end.send_replace(true);
    Ok(running.await??)
}

/// Flags win over the environment, which wins over the file.
fn config(arguments: &Agent) -> Result<AgentConfig> {
    let mut settings = file_settings(Path::new(CONFIG_FILE))?;
    settings.extend(std::env::vars().filter(|(name, _)| name.starts_with("ECS_") || name.starts_with("AWS_")));
    let find = |name: &str| settings.get(name).cloned().filter(|value| !value.is_empty());
    let credentials = Credentials {
        access_key_id: find("AWS_ACCESS_KEY_ID")
            .context("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, as `wharf env` prints them on the control plane's machine")?,
        secret_access_key: find("AWS_SECRET_ACCESS_KEY").context("set AWS_SECRET_ACCESS_KEY")?,
        session_token: find("AWS_SESSION_TOKEN"),
    };
    let endpoint = arguments.endpoint.clone().or_else(|| find("ECS_BACKEND_HOST"));
    let endpoint = endpoint.context("name the control plane with --endpoint URL or ECS_BACKEND_HOST")?;
    if let Some(cluster) = &arguments.cluster {
        settings.insert("ECS_CLUSTER".to_owned(), cluster.clone());
    }
    let region = arguments.region.clone().or_else(|| find("AWS_DEFAULT_REGION")).unwrap_or_else(|| "us-east-1".to_owned());
    let mut config = AgentConfig::new(endpoint, region, credentials, arguments.place.data().join("agent"));
    config.apply(&settings).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.setting, p.text)).collect();
        anyhow::anyhow!("settings of the agent that cannot be used:\n{}", lines.join("\n"))
    })?;
    config.on_exit = on_exit(arguments.on_exit);
    Ok(config)
}

fn file_settings(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    agent::parse_ecs_config(&text).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.setting, p.text)).collect();
        anyhow::anyhow!("{} cannot be used:\n{}", path.display(), lines.join("\n"))
    })
}
