//! All control state of all services, in memory: typed tables, the indexes over them, and their stored form.

pub mod ecr;
pub mod ecs;
pub mod index;
pub mod logs;
pub mod record;
pub mod scope;
pub mod shape;
pub mod sts;
pub mod table;
pub mod tally;

pub use index::Indexes;
pub use scope::{AccountId, Region, Scope};
pub use table::{Entity, Table};

use std::sync::Arc;
use stdx::Timestamp;

/// Names every entity once: its table in [`State`], its variant in [`Key`] and [`Row`], and its number in stored keys.
macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident: $entity:ident ($path:path) = $kind:literal),* $(,)?) => {
        /// Everything that the control plane knows.
        #[derive(Debug, Default)]
        pub struct State {
            $($(#[$doc])* pub $table: Table<$path>,)*
            /// What is derived from the tables; never stored.
            pub indexes: Indexes,
            /// Connected agents; never stored, since a connection does not outlive the process.
            pub sessions: crate::session::Sessions,
            /// The creation number that the next entity gets.
            pub(crate) sequence: u64,
        }

        /// The name of one entity of any kind.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Key { $($entity(<$path as Entity>::Id)),* }

        /// One entity of any kind.
        #[derive(Clone, Debug)]
        pub enum Row { $($entity(Arc<$path>)),* }

        $(impl table::Stored for $path {
            const KIND: u8 = $kind;
            fn key(id: Self::Id) -> Key { Key::$entity(id) }
            fn row(row: Arc<Self>) -> Row { Row::$entity(row) }
            fn table(state: &State) -> &Table<Self> { &state.$table }
            fn table_mut(state: &mut State) -> &mut Table<Self> { &mut state.$table }
        })*

        impl State {
            /// Sets or clears the entity of that key, whatever its kind.
            pub(crate) fn set(&mut self, key: &Key, row: Option<Row>) {
                match (key, row) {
                    $((Key::$entity(_), Some(Row::$entity(row))) => { self.replace(&row.id(), Some(row)); })*
                    $((Key::$entity(id), None) => { self.replace::<$path>(id, None); })*
                    (_, Some(_)) => unreachable!("a row under the key of another kind"),
                }
            }

            /// The entity of that key as it is now.
            pub fn row(&self, key: &Key) -> Option<Row> {
                match key { $(Key::$entity(id) => self.$table.get(id).cloned().map(Row::$entity)),* }
            }

            /// Every row, kind by kind in key order.
            pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
                std::iter::empty()$(.chain(self.$table.values().cloned().map(Row::$entity)))*
            }
        }

        impl Row {
            /// The row's key.
            pub fn key(&self) -> Key {
                match self { $(Self::$entity(row) => Key::$entity(row.id())),* }
            }

            fn sequence(&self) -> u64 {
                match self { $(Self::$entity(row) => row.sequence()),* }
            }

            pub(crate) fn encode(&self) -> Result<Vec<u8>, record::RecordError> {
                match self { $(Self::$entity(row) => record::encode_value(&**row)),* }
            }

            pub(crate) fn decode(kind: u8, bytes: &[u8]) -> Result<Self, record::RecordError> {
                match kind {
                    $($kind => record::decode_value::<$path>(bytes).map(|row| Self::$entity(Arc::new(row))),)*
                    other => Err(record::RecordError::UnknownKind(other)),
                }
            }
        }

        impl Key {
            pub(crate) fn encode(&self) -> Result<Vec<u8>, record::RecordError> {
                match self { $(Self::$entity(id) => record::encode_key($kind, id)),* }
            }
        }
    };
}

tables! {
    /// ECS clusters by scope and name.
    clusters: Cluster(ecs::Cluster) = 1,
    /// ECS task definition revisions.
    task_definitions: TaskDefinition(ecs::TaskDefinition) = 2,
    /// ECS task definition families, which remember the highest revision ever used.
    families: Family(ecs::Family) = 3,
    /// ECS container instances by id.
    container_instances: ContainerInstance(ecs::ContainerInstance) = 4,
    /// ECS tasks by id.
    tasks: Task(ecs::Task) = 5,
    /// ECS account settings.
    account_settings: AccountSetting(ecs::AccountSetting) = 6,
    /// What idempotency tokens stand for.
    client_tokens: ClientToken(ecs::ClientToken) = 7,
    /// Numbers that must keep growing over restarts.
    counters: Counter(ecs::Counter) = 8,
    /// ECR repositories.
    repositories: Repository(ecr::Repository) = 20,
    /// ECR images by repository and digest.
    images: Image(ecr::Image) = 21,
    /// Layers that a repository holds.
    layers: Layer(ecr::Layer) = 22,
    /// ECR registries: one an account and Region.
    registries: Registry(ecr::Registry) = 24,
    /// CloudWatch log groups.
    log_groups: LogGroup(logs::LogGroup) = 40,
    /// CloudWatch log streams.
    log_streams: LogStream(logs::LogStream) = 41,
    /// Access keys: the root user's, and the temporary ones of roles.
    access_keys: AccessKey(sts::AccessKey) = 60,
}

/// A change of one entity: what is stored under its key from now on.
#[derive(Clone, Debug)]
pub struct Change {
    pub key: Key,
    /// `None` when the entity is gone.
    pub row: Option<Row>,
}

impl State {
    /// Rebuilds the state from stored records.
    pub fn load<'a>(
        records: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, record::RecordError> {
        let mut state = Self::default();
        for (key, value) in records {
            let row = record::decode(key, value)?;
            state.sequence = state.sequence.max(row.sequence() + 1);
            let key = row.key();
            state.set(&key, Some(row));
        }
        let timeline = state.counters.get(&ecs::CounterId::Timeline);
        state.sessions.timeline = timeline.map_or(0, |counter| counter.reserved);
        Ok(state)
    }

    /// Replaces an entity and brings the indexes and deadlines along; returns what was there.
    pub(crate) fn replace<E: table::Stored>(&mut self, id: &E::Id, new: Option<Arc<E>>) -> Option<Arc<E>> {
        let old = match &new {
            Some(row) => E::table_mut(self).insert(id.clone(), row.clone()),
            None => E::table_mut(self).remove(id),
        };
        E::index(&mut self.indexes, old.as_deref(), new.as_deref());
        let (before, after) = (old.as_deref().and_then(E::deadline), new.as_deref().and_then(E::deadline));
        if before != after {
            if let Some(at) = before {
                self.indexes.deadlines.remove(&(at, E::key(id.clone())));
            }
            if let Some(at) = after {
                self.indexes.deadlines.insert((at, E::key(id.clone())));
            }
        }
        old
    }

    /// The earliest moment at which something is due.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let entity = self.indexes.deadlines.first().map(|(at, _)| *at);
        entity.into_iter().chain(self.sessions.next_deadline()).min()
    }
}
