//! The generated types on the wire, as real clients speak.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod replies;
mod requests;
