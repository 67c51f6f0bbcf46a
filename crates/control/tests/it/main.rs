//! The core through its real entrance: request JSON in, reply or exception JSON out.

mod account_settings;
mod attributes;
mod clusters;
mod harness;
mod paging;
mod tags;
mod task_definition_rules;
mod task_definitions;
