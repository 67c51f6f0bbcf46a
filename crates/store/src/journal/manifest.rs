//! The manifest: which files make up the store, in a few lines of text, replaced as a whole.
//!
//! ```text
//! wharf-store 1
//! epoch 3
//! snapshot 41
//! journal 42
//! checksum 5d1c09aa
//! ```
//! Files that it does not list are left over from an interrupted rotation or compaction.

use super::directory::Directory;
use crate::StoreError;
use std::io::Write;

pub(crate) const MANIFEST: &str = "MANIFEST";
/// The format that this build writes; it reads this one and those before.
pub(crate) const FORMAT: u32 = 1;
const TITLE: &str = "wharf-store ";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The last fence granted.
    pub(crate) epoch: u64,
    /// The revision up to which the snapshot tells everything.
    pub(crate) snapshot: Option<u64>,
    /// The first revision of each journal, in order; the last one is being written.
    pub(crate) journals: Vec<u64>,
}

pub(crate) fn snapshot_name(revision: u64) -> String {
    format!("snapshot-{revision:020}")
}

pub(crate) fn journal_name(first: u64) -> String {
    format!("journal-{first:020}")
}

impl Manifest {
    fn text(&self) -> String {
        let mut text = format!("{TITLE}{FORMAT}\nepoch {}\n", self.epoch);
        for (word, number) in
            self.snapshot.iter().map(|n| ("snapshot", n)).chain(self.journals.iter().map(|n| ("journal", n)))
        {
            text.push_str(&format!("{word} {number}\n"));
        }
        let sum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("checksum {sum:08x}\n"));
        text
    }

    /// Replaces the manifest on disk; durable on return.
    pub(crate) fn save(&self, directory: &Directory) -> Result<(), StoreError> {
        let mut file = directory.begin(MANIFEST)?;
        let written = file
            .write_all(self.text().as_bytes())
            .map_err(|e| StoreError::io("write", &directory.file(MANIFEST), e))
            .and_then(|()| directory.finish(MANIFEST, &file));
        if written.is_err() {
            directory.abandon(MANIFEST);
        }
        written
    }

    /// Reads the manifest; `None` if there is none.
    pub(crate) fn read(directory: &Directory) -> Result<Option<Self>, StoreError> {
        let path = directory.file(MANIFEST);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let text = String::from_utf8_lossy(&bytes);
        let format = text.strip_prefix(TITLE).and_then(|rest| rest.lines().next()).map(str::trim);
        // The format comes first: a newer one may look different in everything that follows.
        match format.map(str::parse::<u32>) {
            Some(Ok(1..=FORMAT)) => {}
            Some(Ok(other)) => return Err(unknown(directory, &other.to_string())),
            Some(Err(_)) | None => {
                return Err(StoreError::damaged(&path, 0, "it does not begin with the format"));
            }
        }
        Self::parse(&text)
            .map(Some)
            .ok_or_else(|| StoreError::damaged(&path, 0, "its checksum or form is wrong"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (lines, sum) = text.rsplit_once("checksum ")?;
        if u32::from_str_radix(sum.trim_end(), 16).ok()? != crc32fast::hash(lines.as_bytes()) {
            return None;
        }
        let mut manifest = Self::default();
        for line in lines.lines().skip(1) {
            let (word, number) = line.split_once(' ')?;
            let number = number.parse().ok()?;
            match word {
                "epoch" => manifest.epoch = number,
                "snapshot" => manifest.snapshot = Some(number),
                "journal" => manifest.journals.push(number),
                _ => return None,
            }
        }
        Some(manifest)
    }
}

fn unknown(directory: &Directory, found: &str) -> StoreError {
    StoreError::Format { dir: directory.path().to_path_buf(), found: found.to_owned(), known: FORMAT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let manifest = Manifest { epoch: 3, snapshot: Some(41), journals: vec![42, 99] };
        let text = manifest.text();
        assert!(
            text.starts_with("wharf-store 1\nepoch 3\nsnapshot 41\njournal 42\njournal 99\nchecksum "),
            "{text}"
        );
        assert_eq!(Manifest::parse(&text), Some(manifest));
        assert_eq!(Manifest::parse(&text.replace("41", "40")), None);
        assert_eq!(Manifest::parse(""), None);
    }
}
