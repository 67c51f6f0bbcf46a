//! Opening a data directory: what is whole is taken, what is torn is cut off, what is damaged is refused.

use super::directory::Directory;
use super::file::{FrameFile, HEADER, Kind, scan};
use super::frame;
use super::manifest::{MANIFEST, Manifest, journal_name, snapshot_name};
use super::merge::Sources;
use crate::{StoreError, Warning};
use std::collections::BTreeMap;

/// A data directory that is in order.
pub(crate) struct Recovered {
    pub(crate) directory: Directory,
    pub(crate) manifest: Manifest,
    /// The journal to append to.
    pub(crate) tail: FrameFile,
    pub(crate) durable: u64,
    /// Where each journal's frames end.
    pub(crate) ends: BTreeMap<u64, u64>,
    pub(crate) snapshot_bytes: u64,
    pub(crate) warnings: Vec<Warning>,
}

/// Checks everything first and changes only then, so that a refused directory stays as it was.
pub(crate) fn recover(directory: Directory) -> Result<Recovered, StoreError> {
    let manifest = match Manifest::read(&directory)? {
        Some(manifest) => manifest,
        None => create(&directory)?,
    };
    let path = directory.path();
    let snapshot = manifest
        .snapshot
        .map(|revision| FrameFile::open(path, Kind::Snapshot, &snapshot_name(revision), revision))
        .transpose()?;
    let snapshot_bytes = snapshot.as_ref().map_or(0, |snapshot| snapshot.len);
    let journals = manifest
        .journals
        .iter()
        .map(|&first| FrameFile::open(path, Kind::Journal, &journal_name(first), first))
        .collect::<Result<Vec<_>, _>>()?;
    let Chain { durable, mut ends, torn } = check_chain(&directory, &manifest, &journals)?;
    let leftovers = leftovers(&directory, &manifest, durable)?;
    // Read once more when it is loaded, from memory then; a refusal has to come before the changes below.
    Sources { snapshot, journals: Vec::new() }.each(&mut |_, _| Ok(()))?;

    let mut warnings = Vec::new();
    let mut manifest = manifest;
    let tail = match journals.into_iter().next_back() {
        Some(mut tail) => {
            if torn > 0 {
                warnings.push(torn_warning(&tail, torn));
            }
            // Also makes durable what a killed process wrote whole but did not flush: it is about to be loaded.
            let end = ends.get(&tail.revision).copied().unwrap_or(HEADER);
            tail.cut(end).map_err(|e| tail.failed("cut", e))?;
            tail
        }
        None => {
            let tail = new_journal(&directory, durable + 1)?;
            manifest.journals.push(durable + 1);
            ends.insert(durable + 1, HEADER);
            manifest.save(&directory)?;
            tail
        }
    };
    for name in leftovers {
        directory.remove(&name)?;
    }
    directory.make_private()?;
    Ok(Recovered { directory, manifest, tail, durable, ends, snapshot_bytes, warnings })
}

/// An empty journal, not yet in the manifest.
pub(crate) fn new_journal(directory: &Directory, first: u64) -> Result<FrameFile, StoreError> {
    let name = journal_name(first);
    let made = FrameFile::begin(directory, Kind::Journal, &name, first)
        .and_then(|file| directory.finish(&name, &file.file).map(|()| file));
    if made.is_err() {
        directory.abandon(&name);
    }
    made
}

fn create(directory: &Directory) -> Result<Manifest, StoreError> {
    let names = directory.names()?;
    // A journal or snapshot without a manifest is a store that lost it, not an empty directory.
    if names.iter().any(|name| number(name).is_some()) {
        return Err(StoreError::Missing { file: directory.file(MANIFEST) });
    }
    if names.iter().any(|name| !Directory::is_unfinished(name)) {
        return Err(StoreError::NotAStore { dir: directory.path().to_path_buf() });
    }
    let manifest = Manifest::default();
    manifest.save(directory)?;
    Ok(manifest)
}

/// What all journals together tell.
struct Chain {
    durable: u64,
    ends: BTreeMap<u64, u64>,
    /// Bytes of a torn batch at the end of the last one.
    torn: u64,
}

fn check_chain(
    directory: &Directory,
    manifest: &Manifest,
    journals: &[FrameFile],
) -> Result<Chain, StoreError> {
    let mut chain = Chain { durable: manifest.snapshot.unwrap_or(0), ends: BTreeMap::new(), torn: 0 };
    for (number, journal) in journals.iter().enumerate() {
        if journal.revision != chain.durable + 1 {
            let what =
                format!("the journals do not follow each other: revision {} is nowhere", chain.durable + 1);
            return Err(StoreError::damaged(&directory.file(MANIFEST), 0, what));
        }
        let is_last = number + 1 == journals.len();
        let tail = scan(journal, is_last, |body, _| frame::each_entry(body, |_| {}))?;
        chain.ends.insert(journal.revision, tail.end);
        (chain.durable, chain.torn) = (tail.last, tail.torn);
    }
    Ok(chain)
}

/// Files that an interrupted rotation or compaction left.
fn leftovers(directory: &Directory, manifest: &Manifest, durable: u64) -> Result<Vec<String>, StoreError> {
    let mut leftovers = Vec::new();
    for name in directory.names()? {
        if Directory::is_unfinished(&name) {
            leftovers.push(name);
            continue;
        }
        let Some((kind, number)) = number(&name) else { continue };
        let listed = match kind {
            Kind::Journal => manifest.journals.contains(&number),
            Kind::Snapshot => manifest.snapshot == Some(number),
        };
        if listed {
            continue;
        }
        let path = directory.file(&name);
        let len = std::fs::metadata(&path).map_err(|e| StoreError::io("look at", &path, e))?.len();
        // Interrupted work never leaves anything newer than what is listed, but for an empty journal.
        if number > durable && len > HEADER {
            let what = format!("it does not list {name}, which is newer than everything that it lists");
            return Err(StoreError::damaged(&directory.file(MANIFEST), 0, what));
        }
        leftovers.push(name);
    }
    Ok(leftovers)
}

fn number(name: &str) -> Option<(Kind, u64)> {
    let (kind, number) = name.split_once('-')?;
    let kind = match kind {
        "journal" => Kind::Journal,
        "snapshot" => Kind::Snapshot,
        _ => return None,
    };
    Some((kind, number.parse().ok()?))
}

fn torn_warning(tail: &FrameFile, torn: u64) -> Warning {
    Warning(format!(
        "the last {torn} bytes of {} were a batch that was not finished when the process or the machine stopped; \
         it was never acknowledged and is removed",
        tail.path.display(),
    ))
}
