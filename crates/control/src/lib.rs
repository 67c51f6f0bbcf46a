//! The control plane as one deterministic state machine.
