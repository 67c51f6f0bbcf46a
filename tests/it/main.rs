//! What a user does, against the real binary: the demo, a session with AWS's clients, bad input, crashes and signals.
//!
//! `WHARF_BIN` names the binary (else `target/debug/wharf`), `WHARF_AWS` and `WHARF_PYTHON` the clients (else those in
//! `target/clients`, else those on PATH). The tests that run real containers need root; they run one at a time.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod bad_input;
mod clients;
mod crash;
mod demo;
mod directory;
mod http;
mod images;
mod session;
mod signals;
mod suite_mode;
mod wharf;
