//! What goes wrong, and how often: drawn anew for every seed, so that some worlds have much of one fault and none of another.

use stdx::Rng;

/// Faults in a thousand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// A message or a call's request or reply disappears.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// A message takes up to a minute, and others overtake it.
    pub(crate) late: u64,
    /// In each tick of chaos, once for each kind:
    pub(crate) cut: u64,
    pub(crate) agent_crash: u64,
    pub(crate) core_crash: u64,
    /// Of an operation of the runtime.
    pub(crate) runtime_failure: u64,
    /// An operation of the runtime hangs for minutes.
    pub(crate) runtime_slow: u64,
    /// A container ends by itself.
    pub(crate) exit: u64,
    /// A commit takes up to a second.
    pub(crate) slow_commit: u64,
    /// A machine is gone for good.
    pub(crate) death: u64,
}

impl Faults {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut rate = |most: u64| if rng.chance(1, 3) { 0 } else { rng.below(most + 1) };
        Self {
            lost: rate(150),
            doubled: rate(150),
            late: rate(150),
            cut: rate(120),
            agent_crash: rate(60),
            core_crash: rate(40),
            runtime_failure: rate(80),
            runtime_slow: rate(50),
            exit: rate(300),
            slow_commit: rate(200),
            death: rate(4),
        }
    }
}

/// A deliberate defect, to see that the checks find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// No acknowledgement reaches the core.
    DropAcknowledgements,
    /// The core forgets at a restart which ports its tasks hold.
    ForgetPorts,
    /// The agent's runtime makes and starts every container twice.
    StartTwice,
    /// A crash of the core takes commits that were acknowledged.
    LoseTail,
    /// The core believes that it has taken reports of stopped tasks, and has not.
    SwallowStops,
    /// A restart of the core brings a stopped task back.
    Resurrect,
}

impl Mutation {
    pub const ALL: [Self; 6] = [
        Self::DropAcknowledgements,
        Self::ForgetPorts,
        Self::StartTwice,
        Self::LoseTail,
        Self::SwallowStops,
        Self::Resurrect,
    ];
}
