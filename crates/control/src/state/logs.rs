//! The entities of CloudWatch Logs; events lie in the log store.

use super::Entity;
use super::ecs::Tag;
use super::scope::Scope;
use serde::{Deserialize, Serialize};
use stdx::Timestamp;

/// A log group by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogGroupId {
    pub scope: Scope,
    pub name: String,
}

/// A log group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogGroup {
    pub id: LogGroupId,
    pub sequence: u64,
    pub created_at: Timestamp,
    /// `None` keeps events for ever.
    pub retention_days: Option<i32>,
    pub class: String,
    pub kms_key: Option<String>,
    pub tags: Vec<Tag>,
}

impl Entity for LogGroup {
    type Id = LogGroupId;

    fn id(&self) -> LogGroupId {
        self.id.clone()
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// A log stream by name within its group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogStreamId {
    pub group: LogGroupId,
    pub name: String,
}

/// A log stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogStream {
    pub id: LogStreamId,
    /// Names the stream in the event store, so that one made again under its name does not find the old events.
    pub storage_id: String,
    pub sequence: u64,
    pub created_at: Timestamp,
}

impl Entity for LogStream {
    type Id = LogStreamId;

    fn id(&self) -> LogStreamId {
        self.id.clone()
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }
}
