//! Container images: digests, references, manifests, distribution client, layer unpacking, content store.

mod collect;
mod config;
mod digest;
mod error;
mod manifest;
pub mod media_type;
mod reference;
mod store;

pub use collect::Collected;
pub use config::{ExposedPort, ImageConfig, Protocol};
pub use digest::{Digest, Hasher};
pub use error::Error;
pub use manifest::{Descriptor, ImageManifest, Index, Manifest, Platform};
pub use reference::Reference;
pub use store::{ContentStore, ImageRecord, StoredImage};
