//! The event store on a real directory, through its operations.

mod crash;
mod harness;
mod operations;
mod paging;
mod upkeep;
