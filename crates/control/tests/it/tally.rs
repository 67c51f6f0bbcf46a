//! Counters against a recount, whatever is put, changed, taken away and undone.

use crate::harness::{instance, scope, task};
use control::state::ecs::{
    ContainerInstance, InstanceId, InstanceStatus, Task, TaskDefinition, TaskDefinitionId, TaskId, TaskStatus,
};
use control::state::{Row, State, record};
use control::{Change, Tx};
use proptest::prelude::*;
use stdx::Timestamp;

#[derive(Clone, Debug)]
enum Edit {
    Task(u128, &'static str, u32, TaskStatus),
    Instance(u128, &'static str, InstanceStatus),
    /// A task definition, DELETE_IN_PROGRESS or not.
    Definition(u32, bool),
    RemoveTask(u128),
    RemoveInstance(u128),
    RemoveDefinition(u32),
}

fn edits() -> impl Strategy<Value = Edit> {
    use TaskStatus as S;
    let cluster = prop::sample::select(vec!["a", "b"]);
    let status = prop::sample::select(vec![S::Provisioning, S::Pending, S::Running, S::Stopping, S::Stopped]);
    let of_instance = prop::sample::select(vec![
        InstanceStatus::Active,
        InstanceStatus::Draining,
        InstanceStatus::Inactive,
    ]);
    prop_oneof![
        6 => (0_u128..5, cluster.clone(), 1_u32..3, status).prop_map(|(id, c, d, s)| Edit::Task(id, c, d, s)),
        3 => (0_u128..3, cluster, of_instance).prop_map(|(id, c, s)| Edit::Instance(id, c, s)),
        3 => (1_u32..3, any::<bool>()).prop_map(|(revision, is_going)| Edit::Definition(revision, is_going)),
        1 => (0_u128..5).prop_map(Edit::RemoveTask),
        1 => (0_u128..3).prop_map(Edit::RemoveInstance),
        1 => (1_u32..3).prop_map(Edit::RemoveDefinition),
    ]
}

fn definition(revision: u32, is_going: bool) -> TaskDefinition {
    let status = if is_going { "DELETE_IN_PROGRESS" } else { "INACTIVE" };
    let id = TaskDefinitionId { scope: scope(), family: "app".to_owned(), revision };
    let definition = api::ecs::TaskDefinition {
        status: api::ecs::TaskDefinitionStatus::parse(status),
        delete_requested_at: is_going.then_some(Timestamp(1000)),
        ..Default::default()
    };
    TaskDefinition { id, sequence: u64::from(revision), definition, tags: Vec::new() }
}

fn apply(tx: &mut Tx<'_>, edit: &Edit) {
    match edit {
        Edit::Task(id, cluster, revision, status) => {
            if let Row::Task(row) = task(*id, cluster, ("app", *revision), *status) {
                tx.put((*row).clone());
            }
        }
        Edit::Instance(id, cluster, status) => {
            if let Row::ContainerInstance(row) = instance(*id, cluster, *status) {
                tx.put((*row).clone());
            }
        }
        Edit::Definition(revision, is_going) => {
            tx.put(definition(*revision, *is_going));
        }
        Edit::RemoveTask(id) => tx.remove::<Task>(&TaskId(*id)),
        Edit::RemoveInstance(id) => tx.remove::<ContainerInstance>(&InstanceId(*id)),
        Edit::RemoveDefinition(revision) => tx.remove::<TaskDefinition>(&definition(*revision, false).id),
    }
}

/// The same entities counted from nothing.
fn recount(state: &State) -> State {
    let encode = |row: Row| record::encode(&Change { key: row.key(), row: Some(row) }).expect("storable");
    let records: Vec<_> = state.rows().map(encode).collect();
    let pairs = records.iter().filter_map(|(key, value)| Some((key.as_slice(), value.as_deref()?)));
    State::load(pairs).expect("loadable")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counters_equal_a_recount(steps in prop::collection::vec((prop::collection::vec(edits(), 1..4), any::<bool>()), 0..25)) {
        let mut state = State::default();
        for (edits, is_undone) in &steps {
            let mut tx = Tx::new(&mut state);
            edits.iter().for_each(|edit| apply(&mut tx, edit));
            if *is_undone { tx.undo() } else { drop(tx.commit()) }
            let fresh = recount(&state);
            prop_assert_eq!(&state.indexes.tallies, &fresh.indexes.tallies);
            prop_assert_eq!(&state.indexes.referrers, &fresh.indexes.referrers);
            prop_assert_eq!(&state.indexes.deadlines, &fresh.indexes.deadlines);
        }
    }
}
