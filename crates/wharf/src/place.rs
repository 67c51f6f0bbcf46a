//! Where a Wharf keeps its data, and how other commands find one that runs.

use crate::cli::Place;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// The file that a running Wharf leaves in its data directory: its URL and Region, one a line.
const ENDPOINT_FILE: &str = "endpoint";

/// What other commands must know of a Wharf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) region: String,
}

impl Place {
    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        if let Some(directory) = &self.data {
            return directory.clone();
        }
        if rustix::process::geteuid().is_root() {
            return PathBuf::from("/var/lib/wharf");
        }
        let home = std::env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
        home.unwrap_or_else(|| PathBuf::from(".")).join("wharf")
    }

    /// What the last start in this directory wrote.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        let path = self.data().join(ENDPOINT_FILE);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "there is no {}: start Wharf with `wharf up`, or name its directory with --data",
                path.display()
            )
        })?;
        let mut lines = text.lines();
        let (url, region) = (lines.next(), lines.next());
        let (url, region) = url.zip(region).with_context(|| format!("{} is damaged", path.display()))?;
        Ok(Endpoint { url: url.to_owned(), region: region.to_owned() })
    }

    pub(crate) fn write_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        let path = self.data().join(ENDPOINT_FILE);
        std::fs::write(&path, format!("{}\n{}\n", endpoint.url, endpoint.region))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
