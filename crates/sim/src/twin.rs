//! A second core, loaded from the store at a random moment: given the same inputs, it must answer as the first does.

use crate::checks;
use crate::world::World;
use control::session::{AgentInfo, ConnectionId, SessionEvent};
use control::state::ecs::{ClientToken, ContainerInstance, InstanceId, Task};
use control::state::{Key, Row};
use control::{Call, Core, Entropy, Input, Output};
use stdx::Timestamp;

/// How many calls a twin follows.
const CALLS: u32 = 8;

/// The second core and how long it still lives.
pub(crate) struct Twin {
    core: Core,
    left: u32,
}

impl World {
    /// Begins to compare, from what the store would give now.
    pub(crate) fn make_twin(&mut self) {
        let Some(live) = &self.core else { return };
        let mut core = checks::core(self.disk.preview());
        let state = live.state();
        let connected: Vec<(Timestamp, InstanceId)> = state
            .container_instances
            .values()
            .filter_map(|i| state.sessions.connected_at(i.id).map(|at| (at, i.id)))
            .collect();
        // Connections are not stored: the twin's agents connect as they did.
        for (number, (at, instance)) in connected.into_iter().enumerate() {
            let connection = ConnectionId(1_000_000 + number as u64);
            let event = SessionEvent::Connected { connection, instance, agent: AgentInfo::default() };
            core.step(at, &Entropy::new(1, [1; 32]), Input::Session(event));
        }
        self.twin = Some(Twin { core, left: CALLS });
    }

    /// Gives the twin the input that the live core has just been given, and compares.
    pub(crate) fn compare(
        &mut self,
        now: Timestamp,
        entropy: &Entropy,
        call: Option<&Call>,
        live: &Output,
    ) -> Result<(), String> {
        let Some(twin) = &mut self.twin else { return Ok(()) };
        let Some(call) = call else {
            // Connections come and go; a twin with others would answer otherwise.
            self.twin = None;
            return Ok(());
        };
        let output = twin.core.step(now, entropy, Input::Call(Box::new(call.clone())));
        twin.left -= 1;
        if twin.left == 0 {
            self.twin = None;
        }
        if output.reply != live.reply {
            return Err(format!("a reloaded core answers otherwise:\n{:?}\n{:?}", output.reply, live.reply));
        }
        let (ours, theirs) = (comparable(&output), comparable(live));
        if ours != theirs {
            return Err(format!("a reloaded core changes something else:\n{ours}\n{theirs}"));
        }
        Ok(())
    }
}

/// The changes without what a restart may number anew.
fn comparable(output: &Output) -> String {
    let rows = output.changes.iter().filter(|change| !matches!(change.key, Key::Counter(_)));
    let row = |change: &control::Change| match &change.row {
        Some(Row::Task(task)) => format!("{:?}", Task { sequence: 0, ..Task::clone(task) }),
        Some(Row::ContainerInstance(instance)) => {
            format!("{:?}", ContainerInstance { sequence: 0, ..ContainerInstance::clone(instance) })
        }
        Some(Row::ClientToken(token)) => format!("{:?}", ClientToken::clone(token)),
        Some(Row::TaskDefinition(row)) => format!("{:?}", row.definition),
        other => format!("{:?} {}", change.key, other.is_some()),
    };
    rows.map(row).collect::<Vec<_>>().join("\n")
}
