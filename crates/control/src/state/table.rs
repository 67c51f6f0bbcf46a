//! Tables of entities in key order, so that whatever iterates them decides alike on every run.

use super::{Indexes, Key, Row, State};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;
use stdx::Timestamp;

/// Something that is stored under an id of its own.
pub trait Entity: Clone + Serialize + DeserializeOwned {
    type Id: Clone + Ord + std::fmt::Debug + Serialize + DeserializeOwned;

    fn id(&self) -> Self::Id;

    /// The creation number: entities are in the order in which they were made.
    fn sequence(&self) -> u64 {
        0
    }

    /// When [`crate::reconcile`] must look at the entity, if ever.
    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Keeps derived data true when `old` becomes `new`.
    fn index(_indexes: &mut Indexes, _old: Option<&Self>, _new: Option<&Self>) {}
}

/// The link from an entity's type to its place in [`State`]; implemented by the `tables!` macro.
pub trait Stored: Entity {
    const KIND: u8;
    fn key(id: Self::Id) -> Key;
    fn row(row: Arc<Self>) -> Row;
    fn table(state: &State) -> &Table<Self>;
    fn table_mut(state: &mut State) -> &mut Table<Self>;
}

/// Entities of one kind. Rows are shared and immutable: a change puts a new row.
#[derive(Debug)]
pub struct Table<E: Entity> {
    rows: BTreeMap<E::Id, Arc<E>>,
}

impl<E: Entity> Default for Table<E> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<E: Entity> Table<E> {
    pub fn get(&self, id: &E::Id) -> Option<&Arc<E>> {
        self.rows.get(id)
    }

    pub fn contains(&self, id: &E::Id) -> bool {
        self.rows.contains_key(id)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Arc<E>> {
        self.rows.values()
    }

    /// The rows whose ids lie in the range, in order.
    pub fn range(&self, range: impl RangeBounds<E::Id>) -> impl DoubleEndedIterator<Item = &Arc<E>> {
        self.rows.range(range).map(|(_, row)| row)
    }

    pub(super) fn insert(&mut self, id: E::Id, row: Arc<E>) -> Option<Arc<E>> {
        self.rows.insert(id, row)
    }

    pub(super) fn remove(&mut self, id: &E::Id) -> Option<Arc<E>> {
        self.rows.remove(id)
    }
}
