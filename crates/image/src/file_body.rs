//! An HTTP body that reads a file piece by piece on a thread of its own.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Large enough that a piece costs little, small enough that a slow client pins little memory.
const PIECE: u64 = 256 << 10;
/// One piece is read while the one before it is sent.
const QUEUE: usize = 1;

/// A part of a file as a body with a known length.
#[derive(Debug)]
pub struct FileBody {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl FileBody {
    /// The next `length` bytes of `file` from its position.
    pub fn new(file: File, length: u64) -> Self {
        let (sender, pieces) = mpsc::channel(QUEUE);
        if length > 0 {
            tokio::task::spawn_blocking(move || read(file, length, &sender));
        }
        Self { pieces, left: length }
    }
}

fn read(mut file: File, length: u64, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut left = length;
    while left > 0 {
        let size = left.min(PIECE);
        let result = piece(&mut file, size);
        let failed = result.is_err();
        left -= size;
        // A closed channel means that the client has gone.
        if sender.blocking_send(result).is_err() || failed {
            return;
        }
    }
}

fn piece(file: &mut File, size: u64) -> io::Result<Bytes> {
    // Reading to the end of a limit fills memory that nobody has to clear first.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size { Ok(bytes.into()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        match self.pieces.poll_recv(context) {
            Poll::Ready(Some(Ok(piece))) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
