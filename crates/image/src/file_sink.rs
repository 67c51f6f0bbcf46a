//! Writes streamed bytes to a file and hashes them, on a thread of its own so that a slow disk stalls no runtime.

use crate::{Digest, Hasher};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Pieces on their way to the file. With pieces of up to half a mebibyte this bounds the memory of one stream.
const QUEUE: usize = 4;

enum Step {
    Write(Bytes),
    Restart,
}

/// A file being written.
pub(crate) struct FileSink {
    steps: mpsc::Sender<Step>,
    writer: JoinHandle<io::Result<Written>>,
}

/// A file that was written whole; its position is the start.
pub(crate) struct Written {
    pub(crate) file: File,
    pub(crate) digest: Digest,
    pub(crate) length: u64,
}

impl FileSink {
    pub(crate) fn new(file: File) -> Self {
        let (steps, queue) = mpsc::channel(QUEUE);
        Self { steps, writer: tokio::task::spawn_blocking(move || write(file, queue)) }
    }

    /// Queues bytes. False if the writer has failed; `finish` says why.
    pub(crate) async fn write(&self, bytes: Bytes) -> bool {
        self.steps.send(Step::Write(bytes)).await.is_ok()
    }

    /// Forgets what was written and begins again.
    pub(crate) async fn restart(&self) -> bool {
        self.steps.send(Step::Restart).await.is_ok()
    }

    pub(crate) async fn finish(self) -> io::Result<Written> {
        drop(self.steps);
        self.writer.await.map_err(io::Error::other)?
    }
}

fn write(mut file: File, mut queue: mpsc::Receiver<Step>) -> io::Result<Written> {
    let mut hasher = Hasher::new();
    while let Some(step) = queue.blocking_recv() {
        match step {
            Step::Write(bytes) => {
                file.write_all(&bytes)?;
                hasher.update(&bytes);
            }
            Step::Restart => {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                hasher = Hasher::new();
            }
        }
    }
    file.seek(SeekFrom::Start(0))?;
    let length = hasher.length();
    Ok(Written { file, digest: hasher.finish(), length })
}
