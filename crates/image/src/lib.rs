//! Container images: digests, references, manifests, distribution client, layer unpacking, content store.

pub mod build;
mod client;
mod collect;
mod config;
mod digest;
mod download;
mod error;
mod file_body;
mod file_sink;
mod manifest;
pub mod media_type;
mod pull;
mod push;
mod reference;
mod store;
mod tree;
mod unpack;

pub use client::{BlobSource, Credentials, HostRule, Hosts};
pub use collect::Collected;
pub use config::{ExposedPort, ImageConfig, Protocol};
pub use digest::{Digest, Hasher};
pub use error::Error;
pub use file_body::FileBody;
pub use manifest::{Descriptor, ImageManifest, Index, Manifest, Platform};
pub use pull::{Progress, Puller};
pub use push::Pusher;
pub use reference::{Reference, is_repository, is_tag};
pub use store::{ContentStore, ImageRecord, StoredImage};
