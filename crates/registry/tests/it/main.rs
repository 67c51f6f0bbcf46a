//! The registry over real sockets: raw requests, our own client, and skopeo.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod auth;
mod catalog;
mod disk;
mod faulty;
mod http_client;
mod layers;
mod lists;
mod manifests;
mod pull;
mod server;
mod skopeo;
mod uploads;
