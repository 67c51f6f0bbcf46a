//! What a worker needs to make one container; written by the driver as `job.json` into the container's directory.

use crate::capability::Capabilities;
use crate::cgroup::Limits;
use libcontainer::oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Names inside a container's directory.
pub(crate) const JOB: &str = "job.json";
pub(crate) const ROOTFS: &str = "rootfs";
pub(crate) const UPPER: &str = "upper";
pub(crate) const WORK: &str = "work";
pub(crate) const STATE: &str = "state";
pub(crate) const EXIT: &str = "exit.json";
pub(crate) const LOG: &str = "log";
/// The container's name inside its own libcontainer state directory.
pub(crate) const STATE_ID: &str = "c";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Complete but for the user, the network namespace and what only the worker knows.
    pub(crate) spec: Spec,
    pub(crate) user: String,
    pub(crate) limits: Limits,
    /// Topmost first.
    pub(crate) lowerdirs: Vec<PathBuf>,
    pub(crate) capabilities: Capabilities,
    pub(crate) seccomp: bool,
    pub(crate) init: bool,
    /// Rules such as `c 10:229 rwm` beside the standard devices; none at all allows every device.
    pub(crate) devices: Option<Vec<String>>,
}
