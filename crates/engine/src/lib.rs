//! The agent's task and container machine.
