//! Netlink messages as bytes, and the sockets that carry them.

use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
const NESTED: u16 = 0x8000;

/// One or several messages under construction. Attribute order is the caller's.
#[derive(Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    start: usize,
    sequence: u32,
}

impl Messages {
    /// Begins a message with its family header, for example `ifinfomsg`.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Self {
        self.start = self.bytes.len();
        self.sequence += 1;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        self.close(self.start);
        self
    }

    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let at = self.bytes.len();
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        debug_assert_eq!(self.bytes.len() - at, value.len() + 4);
        self.close(self.start);
        self
    }

    pub(crate) fn string(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Attributes inside an attribute.
    pub(crate) fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        inner(self);
        let length = u16::try_from(self.bytes.len() - at).unwrap_or(u16::MAX);
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.close(self.start);
        self
    }

    /// Raw bytes inside an attribute, such as the header of a veth's peer.
    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        self
    }

    pub(crate) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Asks for an answer to the message begun last.
    pub(crate) fn acknowledge(&mut self) -> &mut Self {
        let at = self.start + 6;
        let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | ACK;
        self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
        self
    }

    /// Pads to four bytes and writes the length of the message that starts at `start`.
    fn close(&mut self, start: usize) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// One received message: its type, and what follows the header.
pub(crate) type Received<'a> = (u16, &'a [u8]);

pub(crate) struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// For links, addresses and routes; that protocol has the number 0, which is also the default.
    pub(crate) fn open_route() -> io::Result<Self> {
        Self::open(None)
    }

    pub(crate) fn open_netfilter() -> io::Result<Self> {
        Self::open(Some(rustix::net::netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        rustix::net::sockopt::set_socket_recv_buffer_size(fd.as_fd(), 1 << 20)?;
        Ok(Self { fd, buffer: vec![0; 32 << 10] })
    }

    /// Sends one request and waits for the kernel's verdict.
    pub(crate) fn request(&mut self, messages: &mut Messages) -> io::Result<()> {
        messages.acknowledge();
        self.request_batch(messages, messages.sequence())
    }

    /// Sends several messages and waits for the first error, or for the verdict on number `last`.
    pub(crate) fn request_batch(&mut self, messages: &Messages, last: u32) -> io::Result<()> {
        self.send(messages)?;
        loop {
            let mut verdict = None;
            self.receive(|kind, sequence, payload| {
                if kind == NLMSG_ERROR {
                    let code = error_code(payload);
                    if code != 0 || sequence == last {
                        verdict.get_or_insert(code);
                    }
                }
            })?;
            match verdict {
                Some(0) => return Ok(()),
                Some(code) => {
                    self.drain()?;
                    return Err(io::Error::from_raw_os_error(-code));
                }
                None => {}
            }
        }
    }

    /// Sends one dump request and shows every message of the answer.
    pub(crate) fn dump(&mut self, messages: &Messages, mut each: impl FnMut(Received<'_>)) -> io::Result<()> {
        self.send(messages)?;
        loop {
            let mut done = None;
            self.receive(|kind, _, payload| match kind {
                NLMSG_DONE => done = Some(0),
                NLMSG_ERROR => done = Some(error_code(payload)),
                _ => each((kind, payload)),
            })?;
            match done {
                Some(0) => return Ok(()),
                Some(code) => return Err(io::Error::from_raw_os_error(-code)),
                None => {}
            }
        }
    }

    fn send(&mut self, messages: &Messages) -> io::Result<()> {
        rustix::net::send(&self.fd, &messages.bytes, SendFlags::empty())?;
        Ok(())
    }

    fn receive(&mut self, mut each: impl FnMut(u16, u32, &[u8])) -> io::Result<()> {
        let (length, _) = rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::empty())?;
        let mut rest = &self.buffer[..length];
        while rest.len() >= HEADER {
            let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if size < HEADER || size > rest.len() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a netlink message with a wrong length",
                ));
            }
            let sequence = u32::from_ne_bytes([rest[8], rest[9], rest[10], rest[11]]);
            each(u16::from_ne_bytes([rest[4], rest[5]]), sequence, &rest[HEADER..size]);
            rest = &rest[size.next_multiple_of(4).min(rest.len())..];
        }
        Ok(())
    }

    /// Throws away answers that a failed batch left behind.
    fn drain(&mut self) -> io::Result<()> {
        loop {
            match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn error_code(payload: &[u8]) -> i32 {
    payload.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code))
}

/// Iterates over attributes: type without flags, and value.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let size = usize::from(u16::from_ne_bytes(*rest.first_chunk::<2>()?));
        if size < 4 || size > rest.len() {
            return None;
        }
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3FFF;
        let value = &rest[4..size];
        rest = &rest[size.next_multiple_of(4).min(rest.len())..];
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_counted() {
        let mut m = Messages::default();
        m.begin(16, EXCL, &[0; 16]).string(3, "ab").nest(18, |m| {
            m.attr(1, &[7]);
        });
        let length = u32::from_ne_bytes([m.bytes[0], m.bytes[1], m.bytes[2], m.bytes[3]]) as usize;
        assert_eq!(length, m.bytes.len());
        let all: Vec<_> = attributes(&m.bytes[HEADER + 16..]).collect();
        assert_eq!(all[0], (3, &b"ab\0"[..]));
        assert_eq!(all[1].0, 18);
        assert_eq!(attributes(all[1].1).collect::<Vec<_>>(), [(1, &[7_u8][..])]);
    }
}
