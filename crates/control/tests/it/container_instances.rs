//! Container instances.
