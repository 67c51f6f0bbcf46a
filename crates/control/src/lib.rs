//! The control plane as one deterministic state machine.
//!
//! [`Core::step`] applies one input: the same state, time, entropy and input give the same output, always. Nothing here
//! does I/O, reads a clock or starts a thread. A step's changes must be durable before its reply or messages leave the
//! process; that is the caller's part.
//!
//! - `state/` holds the entities, their tables and indexes; `tx.rs` edits them with an undo log.
//! - `ecs/`, `ecr/`, `logs/`, `sts/` hold one file per operation or group of small ones.
//! - `placement/` decides where a task runs; `session.rs` talks to agents; `reconcile.rs` does what time brings.

pub mod arn;
pub mod call;
pub mod core;
pub mod ecr;
pub mod ecs;
pub mod logs;
pub mod page;
pub mod placement;
pub mod reconcile;
pub mod session;
pub mod state;
pub mod sts;
pub mod tx;

pub use call::{ApiError, ApiRequest, ApiResponse, Call, Ctx, Principal};
pub use core::{Core, Entropy, Input, Limits, Message, Output, Settings};
pub use state::{Change, State};
pub use tx::Tx;
