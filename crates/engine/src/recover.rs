//! From one life of the engine to the next: what was remembered, and what the runtime says is so.

use crate::advance::{TASK_LABEL, fail, stopped, vanished};
use crate::effect::{Found, FoundStatus, Operation, Record};
use crate::engine::{Engine, Waiting};
use crate::task::{Status, Task};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use stdx::Timestamp;

/// Everything that [`Effect::Save`](crate::Effect::Save) has said so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub(crate) timeline: i64,
    tasks: BTreeMap<String, Task>,
}

impl Checkpoint {
    /// Takes in the next record.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Task(task) => {
                self.tasks.insert(task.arn().to_owned(), *task);
            }
            Record::Forgotten(arn) => {
                self.tasks.remove(&arn);
            }
            Record::Timeline(timeline) => self.timeline = self.timeline.max(timeline),
        }
    }

    /// The fewest records that lead to this checkpoint.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let timeline = (self.timeline > 0).then_some(Record::Timeline(self.timeline));
        timeline.into_iter().chain(self.tasks.values().map(|task| Record::Task(Box::new(task.clone()))))
    }

    pub(crate) fn into_tasks(self) -> impl Iterator<Item = Task> {
        self.tasks.into_values()
    }
}

impl Engine {
    /// Facts beat memory: containers go on as they are, ends that were missed are taken note of, and containers of ours
    /// that nobody knows are removed.
    pub(crate) fn merge(&mut self, found: Vec<Found>, now: Timestamp) {
        let names: BTreeMap<String, (u64, usize)> = self
            .tasks
            .iter()
            .flat_map(|(key, task)| {
                task.containers.iter().enumerate().map(|(i, c)| (c.runtime_name.clone(), (*key, i)))
            })
            .collect();
        let mut seen = BTreeSet::new();
        for container in found {
            let by_id = self.by_runtime_id.get(&container.runtime_id).copied();
            match by_id.or_else(|| names.get(&container.name).copied()) {
                Some((key, index)) => {
                    seen.insert((key, index));
                    self.with_task(key, |engine, task| engine.merge_one(task, index, container, now));
                }
                None if container.label(TASK_LABEL).is_some() => {
                    self.run(Operation::Remove { runtime_id: container.runtime_id }, Waiting::Nobody);
                }
                None => {}
            }
        }
        // Later lists may be older than what was made since: absence says something only at the start.
        if !self.recovered {
            self.miss(&seen);
            self.recovered = true;
        }
        let all: Vec<_> = self.tasks.keys().copied().collect();
        all.into_iter().for_each(|key| self.touch(key));
    }

    fn merge_one(&mut self, task: &mut Task, index: usize, found: Found, now: Timestamp) {
        if task.containers[index].passing.current.is_some() {
            return;
        }
        if task.containers[index].runtime_id.is_none() {
            self.created(task, index, found.runtime_id);
        }
        match found.status {
            FoundStatus::Created => {}
            FoundStatus::Running(started) => match task.containers[index].known {
                Status::Stopped => {
                    // Came back to life, or never quite died: it is stopped once more.
                    self.stop_now(task, index, now);
                }
                Status::Running => {}
                _ => self.started(task, index, started, now),
            },
            FoundStatus::Exited { started: None, exit } => {
                if task.containers[index].known != Status::Created {
                    stopped(task, index, exit);
                }
            }
            FoundStatus::Exited { started: Some(started), exit } => {
                if task.containers[index].known < Status::Running {
                    self.started(task, index, started, now);
                }
                self.ended(task, index, exit, now);
            }
        }
    }

    fn miss(&mut self, seen: &BTreeSet<(u64, usize)>) {
        for (key, task) in &mut self.tasks {
            for index in 0..task.containers.len() {
                let made = matches!(task.containers[index].known, Status::Created | Status::Running);
                if made && !seen.contains(&(*key, index)) {
                    fail(task, index, vanished());
                }
            }
        }
    }
}
