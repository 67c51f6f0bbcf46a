//! What time brings: entities whose deadline has come.

use crate::call::Env;
use crate::core::Message;
use crate::session;
use crate::state::Key;
use crate::state::ecs::{ContainerInstance, Task};
use crate::tx::Tx;

/// The most entities that one step looks at, so that a step stays short; the rest stays due.
const DUE_MAX: usize = 1000;

/// Looks at every entity and every agent's connection whose deadline has passed.
pub(crate) fn due(tx: &mut Tx<'_>, env: &mut Env<'_>) -> Vec<Message> {
    let now = env.now;
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
        reconcile(tx, env, key);
    }
    session::due(tx, env, DUE_MAX)
}

/// Does what is due of one entity. For most that is the end of their retention.
fn reconcile(tx: &mut Tx<'_>, env: &mut Env<'_>, key: Key) {
    match key {
        Key::Cluster(id) => tx.remove::<crate::state::ecs::Cluster>(&id),
        Key::ContainerInstance(id) => {
            tx.sessions().forget_health(id);
            tx.remove::<ContainerInstance>(&id);
        }
        Key::Task(id) => match tx.get::<Task>(&id).cloned() {
            Some(task) if !task.is_stopped() => session::renew(tx, env, &task),
            _ => tx.remove::<Task>(&id),
        },
        Key::ClientToken(id) => tx.remove::<crate::state::ecs::ClientToken>(&id),
        Key::Layer(id) => tx.remove::<crate::state::ecr::Layer>(&id),
        Key::AccessKey(id) => tx.remove::<crate::state::sts::AccessKey>(&id),
        Key::TaskDefinition(id) => tx.remove::<crate::state::ecs::TaskDefinition>(&id),
        Key::Family(_)
        | Key::Counter(_)
        | Key::AccountSetting(_)
        | Key::Repository(_)
        | Key::Image(_)
        | Key::Registry(_)
        | Key::LogGroup(_)
        | Key::LogStream(_) => {}
    }
}
