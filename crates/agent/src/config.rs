//! The agent's settings, and how they are read from `ECS_*` lines and variables. Pure: the caller reads the world.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// What the agent signs its calls with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { access_key_id, .. } = self;
        f.debug_struct("Credentials").field("access_key_id", access_key_id).finish_non_exhaustive()
    }
}

/// What becomes of running containers when the agent ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExit {
    /// They are told to stop, and the agent waits for them.
    #[default]
    Stop,
    /// They go on, and the next agent finds them.
    Keep,
}

/// When an image is pulled. Source: `ECS_IMAGE_PULL_BEHAVIOR`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullBehavior {
    /// Always; if that fails, an image that is here is used.
    #[default]
    Default,
    Always,
    /// Unless an earlier pull brought it.
    Once,
    /// Only if it is not here.
    PreferCached,
}

/// Everything that an agent must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// Base URL of the ECS API, such as `http://127.0.0.1:4566`.
    pub endpoint: String,
    pub region: String,
    /// A name or an ARN.
    pub cluster: String,
    pub credentials: Credentials,
    /// Where identity, checkpoint, log positions and volumes are kept.
    pub data_dir: PathBuf,
    pub on_exit: OnExit,
    pub pull_behavior: PullBehavior,
    /// For containers without a stop timeout of their own.
    pub stop_timeout: Duration,
    /// How long stopped containers are kept.
    pub cleanup_wait: Duration,
    pub reserved_memory_mib: i64,
    pub reserved_tcp_ports: BTreeSet<u16>,
    pub reserved_udp_ports: BTreeSet<u16>,
    /// Sent with the first registration only.
    pub instance_attributes: BTreeMap<String, String>,
    pub instance_tags: BTreeMap<String, String>,
    /// Tasks with limits of their own are taken.
    pub task_limits: bool,
    /// Base URLs of other services, where they differ from `endpoint`.
    pub ecr_endpoint: Option<String>,
    pub logs_endpoint: Option<String>,
}

impl AgentConfig {
    /// The defaults of Amazon's agent.
    pub fn new(endpoint: String, region: String, credentials: Credentials, data_dir: PathBuf) -> Self {
        Self {
            endpoint,
            region,
            cluster: "default".to_owned(),
            credentials,
            data_dir,
            on_exit: OnExit::default(),
            pull_behavior: PullBehavior::default(),
            stop_timeout: Duration::from_secs(30),
            cleanup_wait: Duration::from_secs(3 * 3600),
            reserved_memory_mib: 0,
            // Source: the agent's reserved ports (ssh, docker, docker over TLS, introspection, metadata).
            reserved_tcp_ports: BTreeSet::from([22, 2375, 2376, 51678, 51679]),
            reserved_udp_ports: BTreeSet::new(),
            instance_attributes: BTreeMap::new(),
            instance_tags: BTreeMap::new(),
            task_limits: true,
            ecr_endpoint: None,
            logs_endpoint: None,
        }
    }

    /// Reads all settings of these names; others are not ours. All problems come back at once.
    pub fn from_settings(settings: &BTreeMap<String, String>) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader { settings, problems: Vec::new() };
        let endpoint = reader.endpoint();
        let region =
            reader.first(&["AWS_DEFAULT_REGION", "AWS_REGION"]).unwrap_or_else(|| "us-east-1".to_owned());
        let credentials = reader.credentials();
        let data_dir = reader.text("ECS_DATADIR").unwrap_or_else(|| "/var/lib/ecs/data".to_owned());
        let mut config = Self::new(endpoint, region, credentials, PathBuf::from(data_dir));
        reader.fill(&mut config);
        if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
    }
}

/// A setting that cannot be used, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {text}")]
pub struct Problem {
    pub setting: String,
    pub text: String,
}

/// Reads the `NAME=value` lines of `/etc/ecs/ecs.config`; `#` begins a comment line, quotes around values go.
pub fn parse_ecs_config(text: &str) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let mut settings = BTreeMap::new();
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                settings.insert(name.trim().to_owned(), unquoted(value.trim()).to_owned());
            }
            _ => problems.push(Problem {
                setting: format!("line {}", number + 1),
                text: format!("{line:?} is not of the form NAME=value"),
            }),
        }
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|v| v.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

/// Reads a duration as Go writes it: `30s`, `1h30m`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total = total.checked_add(match &rest[..unit_end] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        })?;
        rest = &rest[unit_end..];
    }
    Some(total)
}

struct Reader<'a> {
    settings: &'a BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.settings.get(name).filter(|v| !v.is_empty()).cloned()
    }

    fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text(name))
    }

    fn problem(&mut self, setting: &str, text: impl Into<String>) {
        self.problems.push(Problem { setting: setting.to_owned(), text: text.into() });
    }

    /// A value that must be readable if it is there.
    fn parsed<T>(&mut self, name: &str, wanted: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?;
        let value = read(&text);
        if value.is_none() {
            self.problem(name, format!("{text:?} is not {wanted}"));
        }
        value
    }

    fn endpoint(&mut self) -> String {
        match self.first(&["ECS_BACKEND_HOST", "AWS_ENDPOINT_URL_ECS", "AWS_ENDPOINT_URL"]) {
            Some(endpoint) if endpoint.contains("://") => endpoint,
            Some(endpoint) => format!("https://{endpoint}"),
            None => {
                self.problem("ECS_BACKEND_HOST", "is not set; give the URL of the control plane");
                String::new()
            }
        }
    }

    fn credentials(&mut self) -> Credentials {
        let mut need = |name: &str| {
            let value = self.text(name);
            if value.is_none() {
                self.problem(name, "is not set; the agent signs its calls with it");
            }
            value.unwrap_or_default()
        };
        Credentials {
            access_key_id: need("AWS_ACCESS_KEY_ID"),
            secret_access_key: need("AWS_SECRET_ACCESS_KEY"),
            session_token: self.text("AWS_SESSION_TOKEN"),
        }
    }

    fn fill(&mut self, config: &mut AgentConfig) {
        if let Some(cluster) = self.text("ECS_CLUSTER") {
            config.cluster = cluster;
        }
        let one_second_or_more = |text: &str| duration(text).filter(|d| *d >= Duration::from_secs(1));
        let wanted = "a duration of a second or more, such as 30s or 1h30m";
        if let Some(timeout) = self.parsed("ECS_CONTAINER_STOP_TIMEOUT", wanted, one_second_or_more) {
            config.stop_timeout = timeout;
        }
        if let Some(wait) = self.parsed("ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION", wanted, one_second_or_more) {
            config.cleanup_wait = wait;
        }
        let mib = |text: &str| text.parse().ok().filter(|m: &i64| *m >= 0);
        if let Some(reserved) = self.parsed("ECS_RESERVED_MEMORY", "a number of MiB", mib) {
            config.reserved_memory_mib = reserved;
        }
        let ports = |text: &str| serde_json::from_str::<BTreeSet<u16>>(text).ok();
        config
            .reserved_tcp_ports
            .extend(self.parsed("ECS_RESERVED_PORTS", "a JSON list of ports", ports).unwrap_or_default());
        config
            .reserved_udp_ports
            .extend(self.parsed("ECS_RESERVED_PORTS_UDP", "a JSON list of ports", ports).unwrap_or_default());
        let map = |text: &str| serde_json::from_str::<BTreeMap<String, String>>(text).ok();
        let wanted = "a JSON object of texts, such as {\"stack\":\"blue\"}";
        config.instance_attributes = self.parsed("ECS_INSTANCE_ATTRIBUTES", wanted, map).unwrap_or_default();
        config.instance_tags = self.parsed("ECS_CONTAINER_INSTANCE_TAGS", wanted, map).unwrap_or_default();
        let boolean = |text: &str| text.parse().ok();
        config.task_limits =
            self.parsed("ECS_ENABLE_TASK_CPU_MEM_LIMIT", "true or false", boolean).unwrap_or(true);
        config.pull_behavior = self
            .parsed("ECS_IMAGE_PULL_BEHAVIOR", "one of default, always, once, prefer-cached", |text| {
                match text {
                    "default" => Some(PullBehavior::Default),
                    "always" => Some(PullBehavior::Always),
                    "once" => Some(PullBehavior::Once),
                    "prefer-cached" => Some(PullBehavior::PreferCached),
                    _ => None,
                }
            })
            .unwrap_or_default();
        config.ecr_endpoint = self.text("AWS_ENDPOINT_URL_ECR");
        config.logs_endpoint = self.first(&["AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "AWS_ENDPOINT_URL_LOGS"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMUM: &str = "ECS_BACKEND_HOST=http://h:1\nAWS_ACCESS_KEY_ID=k\nAWS_SECRET_ACCESS_KEY=s\n";

    fn read(more: &str) -> Result<AgentConfig, Vec<Problem>> {
        AgentConfig::from_settings(&parse_ecs_config(&format!("{MINIMUM}{more}"))?)
    }

    #[test]
    fn a_file_as_on_an_instance() {
        let config = read(
            "# comment\n\nECS_CLUSTER=\"web\"\nECS_CONTAINER_STOP_TIMEOUT=1m30s\nECS_RESERVED_MEMORY=256\n\
             ECS_RESERVED_PORTS=[8080]\nECS_INSTANCE_ATTRIBUTES={\"stack\": \"blue\"}\n\
             ECS_IMAGE_PULL_BEHAVIOR=prefer-cached\nAWS_DEFAULT_REGION=eu-north-1\nSOMETHING_ELSE=1\n",
        )
        .unwrap();
        assert_eq!((config.cluster.as_str(), config.region.as_str()), ("web", "eu-north-1"));
        assert_eq!(config.stop_timeout, Duration::from_secs(90));
        assert_eq!(config.reserved_memory_mib, 256);
        assert!(config.reserved_tcp_ports.contains(&8080) && config.reserved_tcp_ports.contains(&51679));
        assert_eq!(config.instance_attributes["stack"], "blue");
        assert_eq!(config.pull_behavior, PullBehavior::PreferCached);
        assert!(!format!("{config:?}").contains("secret_access_key"));
    }

    #[test]
    fn all_problems_come_at_once() {
        let problems = AgentConfig::from_settings(&BTreeMap::new()).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        let problems =
            read("ECS_RESERVED_MEMORY=lots\nECS_CONTAINER_STOP_TIMEOUT=5\nECS_RESERVED_PORTS=80\n");
        let names: Vec<_> = problems.unwrap_err().into_iter().map(|p| p.setting).collect();
        assert_eq!(names, ["ECS_CONTAINER_STOP_TIMEOUT", "ECS_RESERVED_MEMORY", "ECS_RESERVED_PORTS"]);
        assert_eq!(parse_ecs_config("A=1\nnonsense\n").unwrap_err()[0].setting, "line 2");
    }

    #[test]
    fn durations_as_go_writes_them() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!((duration("5"), duration("h"), duration("")), (None, None, None));
    }

    #[test]
    fn a_host_without_a_scheme_is_spoken_to_over_tls() {
        let settings = parse_ecs_config(&MINIMUM.replace("http://", "")).unwrap();
        assert_eq!(AgentConfig::from_settings(&settings).unwrap().endpoint, "https://h:1");
    }
}
