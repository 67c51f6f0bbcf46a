//! The store: batches become durable some time after they were submitted, in order; a crash takes what was not.

use control::state::ecs::{Task, TaskStatus};
use control::state::{Row, State, record};
use control::{Change, Message};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::event::{Answer, Caller};
use crate::faults::Mutation;

/// One step's changes with what may leave once they are durable.
pub(crate) struct Commit {
    pub(crate) changes: Vec<Change>,
    pub(crate) reply: Option<(Caller, Answer)>,
    pub(crate) messages: Vec<Message>,
}

/// The records that survive, and the commits that are on their way to them.
#[derive(Default)]
pub(crate) struct Disk {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) waiting: VecDeque<Commit>,
    /// For [`Mutation::LoseTail`]: what the newest durable changes replaced.
    undo: VecDeque<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Disk {
    /// Makes the oldest waiting commit durable.
    pub(crate) fn flush_one(&mut self) -> Option<Commit> {
        let commit = self.waiting.pop_front()?;
        for change in &commit.changes {
            self.apply(change);
        }
        Some(commit)
    }

    fn apply(&mut self, change: &Change) {
        let (key, value) = record::encode(change).expect("every entity can be stored");
        let old = match value {
            Some(value) => self.records.insert(key.clone(), value),
            None => self.records.remove(&key),
        };
        self.undo.push_back((key, old));
        if self.undo.len() > 6 {
            self.undo.pop_front();
        }
    }

    /// The process ends: some of the waiting commits may have made it, in their order; nobody was told. Returns who
    /// waits in vain.
    pub(crate) fn crash(&mut self, kept: usize, mutation: Option<Mutation>) -> Vec<Caller> {
        let callers = self.waiting.iter().filter_map(|commit| Some(commit.reply.as_ref()?.0)).collect();
        if mutation == Some(Mutation::LoseTail) {
            while let Some((key, old)) = self.undo.pop_back() {
                match old {
                    Some(value) => drop(self.records.insert(key, value)),
                    None => drop(self.records.remove(&key)),
                }
            }
        }
        for _ in 0..kept {
            self.flush_one();
        }
        self.waiting.clear();
        callers
    }

    /// The state as a start finds it.
    pub(crate) fn load(&self, mutation: Option<Mutation>) -> State {
        let records = self.records.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        let state = State::load(records).expect("what was stored can be loaded");
        match mutation {
            Some(Mutation::ForgetPorts | Mutation::Resurrect) => reload(&state, mutation),
            _ => state,
        }
    }

    /// The state that a start would find if everything waiting became durable.
    pub(crate) fn preview(&self) -> State {
        let mut records = self.records.clone();
        for change in self.waiting.iter().flat_map(|commit| &commit.changes) {
            let (key, value) = record::encode(change).expect("every entity can be stored");
            match value {
                Some(value) => drop(records.insert(key, value)),
                None => drop(records.remove(&key)),
            }
        }
        let records = records.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        State::load(records).expect("what was stored can be loaded")
    }
}

/// The state with a defect in every task.
fn reload(state: &State, mutation: Option<Mutation>) -> State {
    let broken = |row: Row| {
        let Row::Task(task) = row else { return row };
        let mut task = Task::clone(&task);
        match mutation {
            Some(Mutation::Resurrect) if task.last_status == TaskStatus::Stopped => {
                task.last_status = TaskStatus::Running;
            }
            Some(Mutation::ForgetPorts) => task.demand.ports.clear(),
            _ => {}
        }
        Row::Task(Arc::new(task))
    };
    let encode = |row: Row| {
        let change = Change { key: row.key(), row: Some(row) };
        let (key, value) = record::encode(&change).expect("every entity can be stored");
        (key, value.unwrap_or_default())
    };
    let records: Vec<_> = state.rows().map(broken).map(encode).collect();
    let records = records.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    State::load(records).expect("what was stored can be loaded")
}
