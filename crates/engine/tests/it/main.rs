//! The engine against a runtime that only keeps books: scripts of what happens, and properties under random inputs.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod properties;
mod scripts;
mod world;
