//! The image configuration: what a container of the image runs by default, and its layers' diff ids.

use crate::{Digest, Error, Platform};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// Largest configuration that is read; real ones have a few kilobytes.
pub(crate) const CONFIG_MAX: u64 = 8 << 20;

/// The parts of an image configuration that matter for running it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    pub architecture: String,
    pub os: String,
    pub variant: Option<String>,
    /// `KEY=VALUE` pairs.
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `user[:group]` by name or number; empty for root.
    pub user: String,
    /// Empty means `/`.
    pub working_dir: String,
    /// A name (`SIGQUIT`) or a number; none means SIGTERM.
    pub stop_signal: Option<String>,
    pub exposed_ports: Vec<ExposedPort>,
    pub labels: BTreeMap<String, String>,
    /// Paths that docker would make anonymous volumes.
    pub volumes: Vec<String>,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// A port that the image says it listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExposedPort {
    pub port: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default, deserialize_with = "nullable")]
    architecture: String,
    #[serde(default, deserialize_with = "nullable")]
    os: String,
    variant: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    config: RawRun,
    rootfs: Option<RawRootfs>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RawRun {
    #[serde(deserialize_with = "nullable")]
    env: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    user: String,
    #[serde(deserialize_with = "nullable")]
    working_dir: String,
    stop_signal: Option<String>,
    #[serde(deserialize_with = "nullable")]
    exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    volumes: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default, deserialize_with = "nullable")]
    diff_ids: Vec<Digest>,
}

/// Docker writes `null` where it means "empty".
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl ImageConfig {
    /// Parses a Docker or OCI image configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let raw: RawConfig =
            serde_json::from_slice(bytes).map_err(|error| Error::InvalidConfig(error.to_string()))?;
        let Some(rootfs) = raw.rootfs else {
            return Err(Error::InvalidConfig(
                "it has no rootfs, so it describes no runnable image".to_owned(),
            ));
        };
        let run = raw.config;
        let exposed_ports =
            run.exposed_ports.keys().map(|text| ExposedPort::parse(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            architecture: raw.architecture,
            os: raw.os,
            variant: raw.variant.filter(|variant| !variant.is_empty()),
            env: run.env,
            entrypoint: run.entrypoint,
            cmd: run.cmd,
            user: run.user,
            working_dir: run.working_dir,
            stop_signal: run.stop_signal.filter(|signal| !signal.is_empty()),
            exposed_ports,
            labels: run.labels,
            volumes: run.volumes.into_keys().collect(),
            diff_ids: rootfs.diff_ids,
        })
    }

    /// The platform that the image was built for; missing fields mean linux on amd64, as Docker reads them.
    pub fn platform(&self) -> Platform {
        let or = |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
        Platform {
            os: or(&self.os, "linux"),
            architecture: or(&self.architecture, "amd64"),
            variant: self.variant.clone(),
        }
    }
}

impl ExposedPort {
    fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::InvalidConfig(format!("'{text}' is no exposed port"));
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(bad()),
        };
        Ok(Self { port: port.parse().map_err(|_| bad())?, protocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_config_with_nulls() {
        let config = ImageConfig::parse(
            br#"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin","A="],"Entrypoint":null,
            "Cmd":["sh","-c","true"],"User":"1000:10","WorkingDir":"/srv","StopSignal":"SIGQUIT",
            "ExposedPorts":{"80/tcp":{},"53/udp":{},"8080":{}},"Labels":null,"Volumes":{"/data":{}},"OnBuild":null},
            "rootfs":{"type":"layers","diff_ids":
            ["sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]},"history":[{}]}"#,
        )
        .unwrap();
        assert_eq!(config.env, ["PATH=/bin", "A="]);
        assert!(config.entrypoint.is_empty() && config.labels.is_empty());
        assert_eq!(config.cmd, ["sh", "-c", "true"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1000:10", "/srv"));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        let ports: Vec<_> = config.exposed_ports.iter().map(|p| (p.port, p.protocol)).collect();
        assert_eq!(ports, [(53, Protocol::Udp), (80, Protocol::Tcp), (8080, Protocol::Tcp)]);
        assert_eq!(config.volumes, ["/data"]);
        assert_eq!(config.diff_ids.len(), 1);
        assert_eq!(config.platform().to_string(), "linux/amd64");
    }

    #[test]
    fn garbage_is_refused() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"rootfs":{"diff_ids":["x"]}}"#,
            r#"{"rootfs":{"diff_ids":[]},"config":{"Env":"A=b"}}"#,
            r#"{"rootfs":{"diff_ids":[]},"config":{"ExposedPorts":{"99999/tcp":{}}}}"#,
        ] {
            assert!(matches!(ImageConfig::parse(bad.as_bytes()), Err(Error::InvalidConfig(_))), "{bad}");
        }
    }
}
