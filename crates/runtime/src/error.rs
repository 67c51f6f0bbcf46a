//! Errors under the names that Amazon's agent gives them.

use std::error::Error;
use std::fmt;

/// The name in front of the text. Source: the agent's error names as they show in a container's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ErrorKind {
    CannotPullContainer,
    CannotPullImageManifest,
    CannotPullContainerAuth,
    CannotCreateContainer,
    CannotStartContainer,
    CannotStopContainer,
    CannotInspectContainer,
    CannotDescribeContainer,
    CannotCreateVolume,
    ContainerNetworking,
    ContainerVanished,
    HostConfig,
    NoSuchContainer,
    OutOfMemory,
    /// The driver itself cannot work on this machine, or lost its helper process.
    DockerState,
    DockerTimeout,
}

impl ErrorKind {
    /// As it stands in `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CannotPullContainer => "CannotPullContainerError",
            Self::CannotPullImageManifest => "CannotPullImageManifestError",
            Self::CannotPullContainerAuth => "CannotPullContainerAuthError",
            Self::CannotCreateContainer => "CannotCreateContainerError",
            Self::CannotStartContainer => "CannotStartContainerError",
            Self::CannotStopContainer => "CannotStopContainerError",
            Self::CannotInspectContainer => "CannotInspectContainerError",
            Self::CannotDescribeContainer => "CannotDescribeContainerError",
            Self::CannotCreateVolume => "CannotCreateVolumeError",
            Self::ContainerNetworking => "ContainerNetworkingError",
            Self::ContainerVanished => "ContainerVanishedError",
            Self::HostConfig => "HostConfigError",
            Self::NoSuchContainer => "NoSuchContainerError",
            Self::OutOfMemory => "OutOfMemoryError",
            Self::DockerState => "DockerStateError",
            Self::DockerTimeout => "DockerTimeoutError",
        }
    }
}

/// One failed call. Its display is `{kind}: {message}`, ready for a container's `reason`.
#[derive(Debug)]
pub struct RuntimeError {
    pub kind: ErrorKind,
    /// What happened and what to do about it.
    pub message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl RuntimeError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Keeps the cause for logs; say in the message what of it the user needs.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}

impl Error for RuntimeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

pub type Result<T, E = RuntimeError> = std::result::Result<T, E>;
