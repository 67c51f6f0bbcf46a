//! The agent over real sockets: a control plane in the test, the simulated runtime below.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod lifecycle;
mod logs;
mod stub;
mod telemetry;
