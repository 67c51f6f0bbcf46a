//! The events of CloudWatch Logs: kept durably on disk, bounded, read by time and position.
//!
//! Groups and streams are the control plane's; this crate asks it through [`View`]. Each stream has a directory named
//! by its storage id, with segment files that hold batches of events in the order of their arrival. [`Logs::handle`]
//! answers the operations that need events. Everything blocks: call it where blocking is allowed.
//!
//! - A batch is on disk before PutLogEvents answers; calls that wait for the same stream share a flush.
//! - Events are read in order of time, and of arrival where times are equal.
//! - Whole segments go when their events are past the group's retention, or when all streams together take more than
//!   [`Settings::bytes_max`]: then the oldest first.
//! - After a crash, a batch that was not written whole is cut off; it was never acknowledged.

mod describe;
mod error;
mod filter;
mod frame;
mod get;
mod pattern;
mod put;
mod segment;
mod service;
mod store;
mod stream;
mod token;
mod window;

pub use error::Error;
pub use pattern::Pattern;
pub use service::{Group, Logs, Stream, View};
pub use store::{Event, Settings};
