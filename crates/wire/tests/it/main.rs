//! The codecs as a client sees them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod dynamic;
mod golden;
mod model;
mod properties;
mod vectors;
mod xml_tree;
