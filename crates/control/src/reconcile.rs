//! What time brings: entities whose deadline has come.

use crate::state::Key;
use crate::tx::Tx;
use stdx::Timestamp;

/// The most entities that one step looks at, so that a step stays short; the rest stays due.
const DUE_MAX: usize = 1000;

/// Looks at every entity whose deadline has passed.
pub fn due(tx: &mut Tx<'_>, now: Timestamp) {
    let due: Vec<Key> = tx
        .state()
        .indexes
        .deadlines
        .iter()
        .take_while(|(at, _)| *at <= now)
        .take(DUE_MAX)
        .map(|(_, key)| key.clone())
        .collect();
    for key in due {
        forget(tx, key);
    }
}

/// Every deadline so far is the end of an entity's retention.
fn forget(tx: &mut Tx<'_>, key: Key) {
    match key {
        Key::Cluster(id) => tx.remove::<crate::state::ecs::Cluster>(&id),
        Key::ContainerInstance(id) => tx.remove::<crate::state::ecs::ContainerInstance>(&id),
        Key::Task(id) => tx.remove::<crate::state::ecs::Task>(&id),
        Key::ClientToken(id) => tx.remove::<crate::state::ecs::ClientToken>(&id),
        Key::LayerUpload(id) => tx.remove::<crate::state::ecr::LayerUpload>(&id),
        Key::AccessKey(id) => tx.remove::<crate::state::sts::AccessKey>(&id),
        Key::TaskDefinition(_)
        | Key::Family(_)
        | Key::AccountSetting(_)
        | Key::Repository(_)
        | Key::Image(_)
        | Key::Layer(_)
        | Key::LogGroup(_)
        | Key::LogStream(_) => {}
    }
}
