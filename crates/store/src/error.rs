//! What can go wrong in a store, in words that say what to do.

use crate::{Fence, Revision};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the data directory {} is in use by {holder}: stop that process or choose another directory",
        dir.display()
    )]
    InUse { dir: PathBuf, holder: String },

    #[error(
        "the data directory {} has format {found}, but this build knows only up to {known}: \
         run the release that wrote it, or a newer one",
        dir.display()
    )]
    Format { dir: PathBuf, found: String, known: u32 },

    #[error(
        "{} holds other files and no MANIFEST, so it is not a store: choose an empty directory, \
         or restore MANIFEST from a backup if this was one",
        dir.display()
    )]
    NotAStore { dir: PathBuf },

    #[error(
        "{} is damaged at byte {at}: {what}. Nothing was changed. Check the disk, \
         then restore the whole data directory from a backup",
        file.display()
    )]
    Damaged { file: PathBuf, at: u64, what: String },

    #[error(
        "{} is missing, though MANIFEST lists it: put it back, or restore the whole data directory from a backup",
        file.display()
    )]
    Missing { file: PathBuf },

    #[error(
        "no space left for {}: nothing of the batch was kept. Free some space; commits work again then",
        file.display()
    )]
    Full { file: PathBuf, source: io::Error },

    #[error("could not {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    #[error("it is not known whether the last batch was kept ({reason}): open the store again to find out")]
    Ambiguous { reason: String },

    #[error("the store takes no commits since an earlier failure ({reason}): open it again")]
    Stopped { reason: String },

    #[error("fence {} does not allow commits (the last one granted is {}): acquire the fence, or step down", given.0, newest.0)]
    Fenced { given: Fence, newest: Fence },

    #[error("a batch of {bytes} bytes is too large, the limit is {limit}: commit it in parts")]
    TooLarge { bytes: usize, limit: usize },

    #[error("the commits after revision {} are compacted away: load everything instead", after.0)]
    Compacted { after: Revision },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    pub(crate) fn damaged(file: &Path, at: u64, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_path_buf(), at, what: what.into() }
    }
}
