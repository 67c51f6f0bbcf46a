//! The entities of ECS.

mod task;

pub use task::{
    Binding, ContainerStatus, Demand, DesiredStatus, Health, LaunchType, RoleCredentials, StopCode, Task,
    TaskContainer, TaskStatus, Usage,
};

use crate::state::scope::Scope;
use crate::state::{Entity, Indexes};
use api::ecs as model;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use stdx::Timestamp;

/// A tag of any resource; order is the user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

/// A cluster by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClusterId {
    pub scope: Scope,
    pub name: String,
}

/// An ECS cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    pub sequence: u64,
    /// ACTIVE, or INACTIVE once deleted.
    pub is_active: bool,
    /// Settings, configuration, capacity providers and Service Connect defaults as they were given; no name, no tags.
    #[serde(with = "crate::state::shape")]
    pub options: model::CreateClusterRequest,
    pub tags: Vec<Tag>,
    /// When an INACTIVE cluster stops being describable.
    pub forget_at: Option<Timestamp>,
}

impl Entity for Cluster {
    type Id = ClusterId;

    fn id(&self) -> ClusterId {
        self.id.clone()
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.forget_at
    }
}

/// A family by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FamilyId {
    pub scope: Scope,
    pub name: String,
}

/// A task definition family; outlives its revisions, since numbers are never used twice.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Family {
    pub id: FamilyId,
    /// The highest revision ever used.
    pub revision: u32,
}

impl Entity for Family {
    type Id = FamilyId;

    fn id(&self) -> FamilyId {
        self.id.clone()
    }
}

/// One revision of a family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskDefinitionId {
    pub scope: Scope,
    pub family: String,
    pub revision: u32,
}

/// A task definition revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskDefinition {
    pub id: TaskDefinitionId,
    pub sequence: u64,
    /// The whole object as DescribeTaskDefinition answers it, ARN, status and times included.
    #[serde(with = "crate::state::shape")]
    pub definition: model::TaskDefinition,
    pub tags: Vec<Tag>,
}

impl Entity for TaskDefinition {
    type Id = TaskDefinitionId;

    fn id(&self) -> TaskDefinitionId {
        self.id.clone()
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn index(indexes: &mut Indexes, old: Option<&Self>, new: Option<&Self>) {
        indexes.tally_definition(old, new);
    }
}

/// The id of a container instance: 32 hex digits on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceId(pub u128);

/// The id of a task: 32 hex digits on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub u128);

macro_rules! hex_id {
    ($name:ident) => {
        impl $name {
            /// Reads 32 hex digits.
            pub fn parse(text: &str) -> Option<Self> {
                let is_id = text.len() == 32
                    && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                is_id.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
    };
}

hex_id!(InstanceId);
hex_id!(TaskId);

/// A transport protocol with its own port space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    Tcp,
    Udp,
}

/// An attribute of a container instance, built in or custom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attribute {
    pub name: String,
    pub value: Option<String>,
}

/// The states of a container instance (REGISTERING and DEREGISTERING come with trunk interfaces).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceStatus {
    Active,
    Draining,
    Inactive,
}

impl InstanceStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// A container instance: a machine whose agent has registered it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerInstance {
    pub id: InstanceId,
    pub sequence: u64,
    pub cluster: ClusterId,
    pub status: InstanceStatus,
    pub registered_at: Timestamp,
    pub ec2_instance_id: Option<String>,
    pub capacity_provider: Option<String>,
    /// CPU units: 1,024 a core.
    pub cpu_units: i64,
    pub memory_mib: i64,
    /// Host ports that tasks never get, as registered.
    pub reserved_ports: BTreeSet<(Transport, u16)>,
    pub gpu_ids: Vec<String>,
    /// Every attribute, sorted by name: capabilities, built-in and custom ones.
    pub attributes: Vec<Attribute>,
    /// The names of the attributes that PutAttributes may change.
    pub custom_attributes: BTreeSet<String>,
    pub agent_version: Option<String>,
    pub agent_hash: Option<String>,
    pub docker_version: Option<String>,
    pub tags: Vec<Tag>,
    /// Grows with every change that emits an event.
    pub version: i64,
    /// When an INACTIVE instance stops being describable.
    pub forget_at: Option<Timestamp>,
}

impl Entity for ContainerInstance {
    type Id = InstanceId;

    fn id(&self) -> InstanceId {
        self.id
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.forget_at
    }

    fn index(indexes: &mut Indexes, old: Option<&Self>, new: Option<&Self>) {
        let place = |i: &Self| (i.cluster.clone(), (i.sequence, i.id));
        Indexes::relocate(&mut indexes.instances_by_cluster, old.map(place), new.map(place));
        indexes.tally_instance(old, new);
    }
}

/// A setting of a principal, or of the whole account when there is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountSettingId {
    pub scope: Scope,
    pub principal: Option<String>,
    pub name: String,
}

/// An ECS account setting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountSetting {
    pub id: AccountSettingId,
    pub value: String,
}

impl Entity for AccountSetting {
    type Id = AccountSettingId;

    fn id(&self) -> AccountSettingId {
        self.id.clone()
    }
}

/// An idempotency token of RunTask, within its cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientTokenId {
    pub cluster: ClusterId,
    pub operation: String,
    pub token: String,
}

/// What a call with an idempotency token made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientToken {
    pub id: ClientTokenId,
    /// The request in the codec's JSON, without the token: a replay must be the same.
    pub request: String,
    pub tasks: Vec<TaskId>,
    pub forget_at: Timestamp,
}

impl Entity for ClientToken {
    type Id = ClientTokenId;

    fn id(&self) -> ClientTokenId {
        self.id.clone()
    }

    fn deadline(&self) -> Option<Timestamp> {
        Some(self.forget_at)
    }
}

/// A number that outlives the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counter {
    pub id: CounterId,
    /// Numbers below this may have been used; they are set aside in blocks, so that not every use is stored.
    pub reserved: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CounterId {
    /// Payloads and manifests: an agent drops manifests older than the newest of either.
    Timeline,
}

impl Entity for Counter {
    type Id = CounterId;

    fn id(&self) -> CounterId {
        self.id
    }
}
