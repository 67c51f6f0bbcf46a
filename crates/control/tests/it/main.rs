//! The core through its real entrance: request JSON in, reply or exception JSON out.

mod account_settings;
mod agent;
mod attributes;
mod clusters;
mod container_instances;
mod ecr;
mod ecr_images;
mod fargate_rules;
mod harness;
mod logs;
mod paging;
mod run_task;
mod sessions;
mod sts;
mod tags;
mod tally;
mod task_definition_rules;
mod task_definitions;
mod task_life;
