//! Container images: digests, references, manifests, distribution client, layer unpacking, content store.
