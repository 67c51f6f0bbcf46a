//! The OCI distribution API, blob store and uploads.
