//! Durable key-value state: transactions with a fence, group commit, watch.
