//! Our own puller against our own registry.
