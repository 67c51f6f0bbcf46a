//! Errors as the distribution specification words them, with ECR's codes and texts.

use http::StatusCode;
use image::Digest;
use std::io;
use std::path::{Path, PathBuf};

/// What a client of the registry is told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No credentials or wrong ones: answered with the challenge.
    #[error("Not Authorized")]
    Unauthorized,
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    NameInvalid(String),
    #[error("{0}")]
    NameUnknown(String),
    #[error("{0}")]
    TagInvalid(String),
    #[error("{0}")]
    ManifestUnknown(String),
    #[error("{0}")]
    ManifestInvalid(String),
    #[error("Manifest is {size} bytes, more than the {max} that an image manifest may have")]
    ManifestTooLarge { size: u64, max: u64 },
    /// A manifest names what the repository does not hold.
    #[error("{0}")]
    ManifestBlobUnknown(String),
    #[error("Layer {0} does not exist in the repository")]
    BlobUnknown(Digest),
    #[error("{0}")]
    DigestInvalid(String),
    #[error("Upload with id '{0}' does not exist")]
    UploadUnknown(String),
    #[error("{0}")]
    UploadInvalid(String),
    /// A piece that does not continue the upload where it stands.
    #[error("The upload holds {length} bytes; the next part must start there")]
    OutOfOrder { length: u64 },
    #[error("The requested range lies outside of the blob's {size} bytes")]
    RangeNotSatisfiable { size: u64 },
    #[error("{0}")]
    SizeInvalid(String),
    #[error("{0}")]
    Unsupported(String),
    /// The method is not offered on this path.
    #[error("The operation is unsupported")]
    MethodNotAllowed,
    #[error("Not found")]
    NoSuchRoute,
    #[error("Rate exceeded")]
    TooManyRequests,
    #[error("No space left in the registry's storage")]
    StorageFull,
    #[error("The request's body broke off")]
    BodyBroken,
    #[error("Internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps a failure that the client cannot help; its text goes to the log only.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::NameUnknown(_)
            | Self::ManifestUnknown(_)
            | Self::BlobUnknown(_)
            | Self::UploadUnknown(_)
            | Self::ManifestBlobUnknown(_)
            | Self::NoSuchRoute => StatusCode::NOT_FOUND,
            Self::ManifestTooLarge { .. } | Self::SizeInvalid(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::OutOfOrder { .. } | Self::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NameInvalid(_)
            | Self::TagInvalid(_)
            | Self::ManifestInvalid(_)
            | Self::DigestInvalid(_)
            | Self::UploadInvalid(_)
            | Self::Unsupported(_)
            | Self::BodyBroken => StatusCode::BAD_REQUEST,
        }
    }

    /// The code of the distribution specification.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied(_) => "DENIED",
            Self::NameInvalid(_) => "NAME_INVALID",
            Self::NameUnknown(_) => "NAME_UNKNOWN",
            Self::TagInvalid(_) => "TAG_INVALID",
            Self::ManifestUnknown(_) => "MANIFEST_UNKNOWN",
            Self::ManifestInvalid(_) | Self::ManifestTooLarge { .. } => "MANIFEST_INVALID",
            Self::ManifestBlobUnknown(_) => "MANIFEST_BLOB_UNKNOWN",
            Self::BlobUnknown(_) => "BLOB_UNKNOWN",
            Self::DigestInvalid(_) => "DIGEST_INVALID",
            Self::UploadUnknown(_) => "BLOB_UPLOAD_UNKNOWN",
            Self::UploadInvalid(_) | Self::OutOfOrder { .. } | Self::BodyBroken => "BLOB_UPLOAD_INVALID",
            Self::SizeInvalid(_) | Self::RangeNotSatisfiable { .. } => "SIZE_INVALID",
            Self::Unsupported(_) | Self::MethodNotAllowed | Self::NoSuchRoute => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::StorageFull => "STORAGE_FULL",
            Self::Internal(_) => "INTERNAL_ERROR",
        }
    }
}

/// What can go wrong with the bytes themselves; the layer upload API of ECR words these in its own way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("upload '{0}' does not exist")]
    UploadNotFound(String),
    /// `last_valid` is the last byte received, none if there is none.
    #[error("the part does not continue the upload")]
    InvalidPart { last_valid: Option<u64> },
    #[error("the part has {actual} bytes, its range {expected}")]
    PartLength { expected: u64, actual: u64 },
    #[error("the uploaded bytes have digest {actual}, which is none of those given")]
    DigestMismatch { actual: Digest },
    #[error("the upload holds no bytes")]
    EmptyUpload,
    #[error("a part other than the last is smaller than 5 MiB")]
    PartTooSmall,
    #[error("the layer is larger than {max} bytes")]
    TooLarge { max: u64 },
    #[error("the request's body broke off")]
    BodyBroken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no space left for {}", .0.display())]
    Full(PathBuf),
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path.to_owned()),
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::UploadNotFound(id) => Self::UploadUnknown(id),
            StoreError::InvalidPart { last_valid } => {
                Self::OutOfOrder { length: last_valid.map_or(0, |last| last + 1) }
            }
            // ECR's text for a wrong digest at the end of an upload.
            StoreError::DigestMismatch { .. } => Self::DigestInvalid(
                "None of the provided layer digests match the calculated layer digest".to_owned(),
            ),
            StoreError::TooLarge { .. } => Self::SizeInvalid(error.to_string()),
            StoreError::PartLength { .. } | StoreError::EmptyUpload | StoreError::PartTooSmall => {
                Self::UploadInvalid(error.to_string())
            }
            StoreError::BodyBroken(_) => Self::BodyBroken,
            StoreError::Full(_) => Self::StorageFull,
            StoreError::Io { .. } => Self::internal(error),
        }
    }
}
