//! The agent's memory over restarts: who it is, and a journal of what its engine saves.

use crate::error::AgentError;
use engine::{Checkpoint, Record};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// What this machine is to the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) cluster: String,
    pub(crate) container_instance_arn: String,
}

/// The journal is rewritten once it has grown by so much, and to several times what is live.
const REWRITE_BYTES_MIN: u64 = 1 << 20;
const REWRITE_FACTOR: u64 = 4;
/// Between attempts to write, when the disk is full.
const RETRY: Duration = Duration::from_secs(1);

/// The data directory, held for this process alone.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    pub(crate) fn open(path: &Path) -> Result<Self, AgentError> {
        let failed = |source| AgentError::DataDir { path: path.to_owned(), source };
        std::fs::create_dir_all(path.join("logs")).map_err(failed)?;
        let lock = File::create(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(AgentError::DataDirInUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn identity_path(&self) -> PathBuf {
        self.path.join("agent.json")
    }

    pub(crate) fn identity(&self) -> Result<Option<Identity>, AgentError> {
        let path = self.identity_path();
        match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(identity) => Ok(Some(identity)),
                Err(source) => Err(AgentError::Damaged { path, source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AgentError::DataDir { path, source }),
        }
    }

    pub(crate) fn save_identity(&self, identity: &Identity) -> Result<(), AgentError> {
        let path = self.identity_path();
        let text = serde_json::to_vec(identity).unwrap_or_default();
        replace(&path, |file| file.write_all(&text)).map_err(|source| AgentError::DataDir { path, source })
    }

    /// Reads the journal, rewrites it, and goes on behind it.
    pub(crate) fn journal<M: Send + 'static>(
        &self,
        deliver: impl Fn(M) + Send + 'static,
    ) -> Result<(Checkpoint, Journal<M>), AgentError> {
        let path = self.path.join("tasks.journal");
        let failed = |source| AgentError::DataDir { path: path.clone(), source };
        let checkpoint = read(&path).map_err(failed)?;
        let closing = Arc::new(AtomicBool::new(false));
        let mut writer = Writer {
            path: path.clone(),
            file: None,
            live: checkpoint.clone(),
            bytes: 0,
            rewrite_at: 0,
            closing: closing.clone(),
        };
        writer.rewrite().map_err(failed)?;
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("agent-journal".to_owned())
            .spawn(move || writer.run(&receiver, &deliver))
            .map_err(failed)?;
        Ok((checkpoint, Journal { sender, thread, closing }))
    }
}

/// Writes a file beside the old one and puts it in its place, so that a crash leaves the one or the other.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    write(&mut file)?;
    file.sync_data()?;
    std::fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// What the journal holds, up to the first line that a crash cut off.
fn read(path: &Path) -> io::Result<Checkpoint> {
    let mut checkpoint = Checkpoint::default();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(checkpoint),
        Err(error) => return Err(error),
    };
    for line in BufReader::new(file).split(b'\n') {
        let Ok(record) = serde_json::from_slice::<Record>(&line?) else {
            tracing::warn!(path = %path.display(), "the journal ends in a torn record; what came after it is lost");
            break;
        };
        checkpoint.apply(record);
    }
    Ok(checkpoint)
}

enum Entry<M> {
    Record(Box<Record>),
    Message(M),
}

/// Hands records to the writing thread. A message goes out once every record before it is durable.
pub(crate) struct Journal<M> {
    sender: mpsc::Sender<Entry<M>>,
    thread: JoinHandle<()>,
    closing: Arc<AtomicBool>,
}

impl<M> Journal<M> {
    pub(crate) fn save(&self, record: Record) {
        self.put(Entry::Record(Box::new(record)));
    }

    pub(crate) fn send(&self, message: M) {
        self.put(Entry::Message(message));
    }

    fn put(&self, entry: Entry<M>) {
        if self.sender.send(entry).is_err() {
            tracing::error!("the journal's thread has ended: tasks are no longer remembered over a restart");
        }
    }

    /// Waits until everything is written, unless the disk will not have it.
    pub(crate) fn close(self) {
        self.closing.store(true, Ordering::Relaxed);
        drop(self.sender);
        if self.thread.join().is_err() {
            tracing::error!("the journal's thread panicked");
        }
    }
}

struct Writer {
    path: PathBuf,
    file: Option<File>,
    live: Checkpoint,
    bytes: u64,
    rewrite_at: u64,
    /// Nobody waits for a disk any more.
    closing: Arc<AtomicBool>,
}

impl Writer {
    fn run<M>(mut self, receiver: &mpsc::Receiver<Entry<M>>, deliver: &impl Fn(M)) {
        while let Ok(first) = receiver.recv() {
            // Whatever came while the last batch was written shares one sync.
            let mut text = Vec::new();
            let mut messages = Vec::new();
            for entry in std::iter::once(first).chain(receiver.try_iter()) {
                match entry {
                    Entry::Record(record) => {
                        if let Err(error) = serde_json::to_writer(&mut text, &record) {
                            tracing::error!(%error, "a task cannot be written down");
                        }
                        text.push(b'\n');
                        self.live.apply(*record);
                    }
                    Entry::Message(message) => messages.push(message),
                }
            }
            while let Err(error) = self.append(&text) {
                tracing::error!(%error, path = %self.path.display(), "cannot write the journal; trying again");
                if self.closing.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(RETRY);
            }
            messages.into_iter().for_each(deliver);
        }
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if self.bytes + text.len() as u64 > self.rewrite_at {
            return self.rewrite();
        }
        let Some(file) = &mut self.file else { return self.rewrite() };
        if let Err(error) = file.write_all(text).and_then(|()| file.sync_data()) {
            // Half a record may be there: the whole is written anew.
            self.file = None;
            return Err(error);
        }
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        for record in self.live.records() {
            serde_json::to_writer(&mut text, &record)?;
            text.push(b'\n');
        }
        replace(&self.path, |file| file.write_all(&text))?;
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        self.bytes = text.len() as u64;
        self.rewrite_at = (self.bytes * REWRITE_FACTOR).max(REWRITE_BYTES_MIN);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_messages_follow_them() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let (told, heard) = mpsc::channel();
        let (checkpoint, journal) = data.journal(move |m: u32| told.send(m).unwrap()).unwrap();
        assert_eq!(checkpoint, Checkpoint::default());
        journal.save(Record::Timeline(7));
        journal.send(1);
        assert_eq!(heard.recv().unwrap(), 1);
        // What a message follows is in the file by the time the message is out.
        assert_eq!(read(&dir.path().join("tasks.journal")).unwrap().records().count(), 1);
        journal.close();
    }

    #[test]
    fn a_torn_last_record_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tasks.journal");
        std::fs::write(&path, "{\"Timeline\":5}\n{\"Timeline\":9").unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let (checkpoint, journal) = data.journal(|(): ()| {}).unwrap();
        assert_eq!(checkpoint.records().collect::<Vec<_>>(), [Record::Timeline(5)]);
        journal.save(Record::Timeline(6));
        journal.close();
        assert_eq!(read(&path).unwrap().records().collect::<Vec<_>>(), [Record::Timeline(6)]);
    }

    #[test]
    fn the_journal_does_not_grow_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let (_, journal) = data.journal(|(): ()| {}).unwrap();
        (0..200_000).for_each(|n| journal.save(Record::Timeline(n)));
        journal.close();
        let path = dir.path().join("tasks.journal");
        assert!(std::fs::metadata(&path).unwrap().len() <= REWRITE_BYTES_MIN);
        assert_eq!(read(&path).unwrap().records().collect::<Vec<_>>(), [Record::Timeline(199_999)]);
    }

    #[test]
    fn a_data_directory_serves_one_agent() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(AgentError::DataDirInUse { .. })));
        assert_eq!(first.identity().unwrap(), None);
        let identity = Identity { cluster: "c".into(), container_instance_arn: "arn".into() };
        first.save_identity(&identity).unwrap();
        assert_eq!(first.identity().unwrap(), Some(identity));
        drop(first);
        assert!(DataDir::open(dir.path()).is_ok());
    }
}
