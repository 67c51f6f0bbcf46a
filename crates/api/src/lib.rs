//! Types and operation tables of the AWS APIs, one module per API, generated from `models/` by `cargo xtask codegen`.
//!
//! `acs` and `tcs` are the two channels between the control plane and a container instance's agent.

pub mod channel;

#[rustfmt::skip]
pub mod acs;
#[rustfmt::skip]
pub mod ecr;
#[rustfmt::skip]
pub mod ecs;
#[rustfmt::skip]
pub mod logs;
#[rustfmt::skip]
pub mod sts;
#[rustfmt::skip]
pub mod tcs;
