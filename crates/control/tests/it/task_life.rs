//! The life of tasks.
