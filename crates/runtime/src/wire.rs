//! What the driver and the keeper say to each other: one JSON document a datagram, with descriptors beside it.

use crate::keeper::LogLimits;
use crate::{ContainerExit, ErrorKind};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use stdx::Timestamp;

/// Raised whenever a message changes its meaning; a keeper of another version is refused with advice.
pub(crate) const PROTOCOL: u32 = 1;

/// The keeper's socket in its directory.
pub(crate) const SOCKET: &str = "keeper.sock";

/// From the driver.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Makes a container from the job in `dir`. Beside it: the network namespace, then sockets that hold host ports.
    Create {
        request: u64,
        id: String,
        dir: PathBuf,
        log: LogLimits,
        netns: bool,
    },
    Start {
        request: u64,
        id: String,
    },
    Signal {
        request: u64,
        id: String,
        signal: i32,
    },
    /// Lets go of the host ports of a container that has ended.
    Release {
        request: u64,
        id: String,
    },
    /// Forgets a container; kills it first if it still runs.
    Remove {
        request: u64,
        id: String,
    },
    List {
        request: u64,
    },
    /// Kills every container and ends.
    Shutdown {
        request: u64,
    },
}

/// From the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Hello {
        protocol: u32,
        version: String,
    },
    Created {
        request: u64,
        pid: u32,
        group: String,
        warnings: Vec<String>,
    },
    Started {
        request: u64,
        at: Timestamp,
    },
    Done {
        request: u64,
    },
    Failed {
        request: u64,
        kind: ErrorKind,
        message: String,
    },
    /// Part of a list; the last part has `more` unset.
    Listed {
        request: u64,
        containers: Vec<Kept>,
        more: bool,
    },
    Exited {
        id: String,
        exit: ContainerExit,
    },
}

/// One container as the keeper knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) pid: u32,
    pub(crate) group: String,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) exit: Option<ContainerExit>,
}

/// More than any message; a container's environment travels in a file.
const DATAGRAM_MAX: usize = 256 << 10;
const DESCRIPTORS_MAX: usize = 128;

/// Sends one message; `WouldBlock` if the other side does not read.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{} published ports are too many for one container (at most {DESCRIPTORS_MAX})",
                descriptors.len()
            ),
        ));
    }
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one message; `None` when the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; DATAGRAM_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(socket.as_fd(), &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            // A peer that ended without reading everything resets the connection; what it said before is still there,
            // and the kernel reports the reset once.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            descriptors.extend(some);
        }
    }
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptors)))
}
