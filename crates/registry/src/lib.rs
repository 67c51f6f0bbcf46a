//! The OCI distribution API, blob store and uploads.
//!
//! The registry owns bytes; which repositories, images and tags there are, and who may touch them, it asks its
//! [`Catalog`].

mod auth;
mod blobs;
mod body;
mod catalog;
mod collect;
mod error;
mod handle;
mod manifests;
mod route;
mod store;
mod tags;
mod upload;
mod uploads;

pub use auth::{Credentials, Host};
pub use body::Body;
pub use catalog::{Action, Catalog, Image, ImageId, Page, PutImage};
pub use collect::{Plan, Removed};
pub use error::{Error, StoreError};
pub use handle::{Registry, Settings};
pub use store::{BlobStore, StoreSettings, StoredBlob};
pub use upload::Completed;
