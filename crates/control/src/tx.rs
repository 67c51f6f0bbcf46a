//! Edits to the state that either all happen or none: reads see own writes, an error undoes everything.

use crate::state::table::Stored;
use crate::state::{Change, Key, Row, State};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An edit under way. Dropped without [`Tx::commit`] it undoes itself, so that a panic leaves the state whole.
pub struct Tx<'a> {
    state: &'a mut State,
    /// What each touched key held before the edit.
    before: BTreeMap<Key, Option<Row>>,
    sequence_before: u64,
    is_committed: bool,
}

impl<'a> Tx<'a> {
    pub fn new(state: &'a mut State) -> Self {
        let sequence_before = state.sequence;
        Self { state, before: BTreeMap::new(), sequence_before, is_committed: false }
    }

    /// The state as the edit has left it so far.
    pub fn state(&self) -> &State {
        self.state
    }

    /// The connected agents: what is known of them is never stored and never undone.
    pub(crate) fn sessions(&mut self) -> &mut crate::session::Sessions {
        &mut self.state.sessions
    }

    pub fn get<E: Stored>(&self, id: &E::Id) -> Option<&Arc<E>> {
        E::table(self.state).get(id)
    }

    /// A creation number for a new entity.
    pub fn next_sequence(&mut self) -> u64 {
        let sequence = self.state.sequence;
        self.state.sequence += 1;
        sequence
    }

    pub fn put<E: Stored>(&mut self, entity: E) -> Arc<E> {
        let row = Arc::new(entity);
        self.replace(&row.id(), Some(row.clone()));
        row
    }

    pub fn remove<E: Stored>(&mut self, id: &E::Id) {
        self.replace::<E>(id, None);
    }

    /// Edits an entity in place; false if there is none of that id.
    pub fn edit<E: Stored>(&mut self, id: &E::Id, change: impl FnOnce(&mut E)) -> bool {
        let Some(row) = self.get::<E>(id) else { return false };
        let mut entity = (**row).clone();
        change(&mut entity);
        self.replace(id, Some(Arc::new(entity)));
        true
    }

    fn replace<E: Stored>(&mut self, id: &E::Id, new: Option<Arc<E>>) {
        let old = self.state.replace(id, new);
        self.before.entry(E::key(id.clone())).or_insert_with(|| old.map(E::row));
    }

    /// What the edit has touched so far.
    pub(crate) fn touched(&self) -> impl Iterator<Item = &Key> {
        self.before.keys()
    }

    /// The changes to make durable, each key once and as it ended.
    pub fn commit(mut self) -> Vec<Change> {
        self.is_committed = true;
        let before = std::mem::take(&mut self.before);
        let made = |(key, old): (Key, Option<Row>)| {
            let row = self.state.row(&key);
            // What came and went within the edit never was.
            (old.is_some() || row.is_some()).then_some(Change { key, row })
        };
        before.into_iter().filter_map(made).collect()
    }

    /// Puts everything back as it was.
    pub fn undo(self) {
        drop(self);
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if self.is_committed {
            return;
        }
        for (key, row) in std::mem::take(&mut self.before) {
            self.state.set(&key, row);
        }
        self.state.sequence = self.sequence_before;
    }
}
