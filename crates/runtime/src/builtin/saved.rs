//! What a data directory tells of its containers, without opening the driver that may be at work in it.

use super::record::{Record, read_exit};
use crate::ContainerExit;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use stdx::Timestamp;

/// A container on disk.
#[derive(Clone, Debug)]
pub struct SavedContainer {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub created_at: Timestamp,
    /// The newest file of its log.
    pub log: PathBuf,
    /// How it ended, if it has.
    pub exit: Option<ContainerExit>,
}

/// The containers of a driver's data directory, the oldest first. One that is being removed meanwhile is left out.
pub fn saved_containers(data_dir: &Path) -> io::Result<Vec<SavedContainer>> {
    let directory = super::containers_dir(data_dir);
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut containers = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let Ok(record) = Record::read(&path) else { continue };
        containers.push(SavedContainer {
            name: record.spec.name.clone(),
            labels: record.spec.labels.clone().into_iter().collect(),
            created_at: record.created_at,
            log: path.join(crate::job::LOG),
            exit: read_exit(&path),
        });
    }
    containers.sort_by_key(|container| container.created_at);
    Ok(containers)
}
