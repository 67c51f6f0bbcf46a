//! What is derived from the tables and kept true by every change of a row.

use super::Key;
use super::ecs::{ClusterId, InstanceId, TaskDefinitionId, TaskId, Usage};
use super::tally::{Referrers, Tally};
use std::collections::{BTreeMap, BTreeSet};
use stdx::Timestamp;

/// Secondary indexes and counters. Sets order entities by creation, never by id, so that a rebuilt core decides alike.
#[derive(Debug, Default)]
pub struct Indexes {
    /// Which entities [`crate::reconcile`] must look at, and when.
    pub deadlines: BTreeSet<(Timestamp, Key)>,
    pub tasks_by_cluster: BTreeMap<ClusterId, BTreeSet<(u64, TaskId)>>,
    pub tasks_by_instance: BTreeMap<InstanceId, BTreeSet<(u64, TaskId)>>,
    pub instances_by_cluster: BTreeMap<ClusterId, BTreeSet<(u64, InstanceId)>>,
    /// What the tasks that are not STOPPED take of each instance.
    pub usage: BTreeMap<InstanceId, Usage>,
    /// What DescribeClusters counts, so that it need not look at every task.
    pub tallies: BTreeMap<ClusterId, Tally>,
    /// Who still needs each task definition.
    pub referrers: BTreeMap<TaskDefinitionId, Referrers>,
    /// Which image a tag, a layer, an index or a subject leads to.
    pub images: super::ecr::ImageIndex,
}

impl Indexes {
    /// Moves a member from one set of a one-to-many index to another.
    pub(super) fn relocate<K: Ord, M: Ord>(
        index: &mut BTreeMap<K, BTreeSet<M>>,
        old: Option<(K, M)>,
        new: Option<(K, M)>,
    ) {
        if old == new {
            return;
        }
        if let Some((key, member)) = old
            && let Some(set) = index.get_mut(&key)
        {
            set.remove(&member);
            if set.is_empty() {
                index.remove(&key);
            }
        }
        if let Some((key, member)) = new {
            index.entry(key).or_default().insert(member);
        }
    }
}
