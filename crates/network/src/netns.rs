//! Network namespaces that exist as long as somebody holds a descriptor of them or runs inside.

use crate::link;
use crate::netlink::Socket;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::thread::UnshareFlags;
use std::io;

/// A fresh namespace with its loopback interface up, and a netlink socket inside it.
pub(crate) struct Netns {
    pub(crate) fd: OwnedFd,
    pub(crate) route: Socket,
}

impl Netns {
    pub(crate) fn create() -> io::Result<Self> {
        // A namespace belongs to a thread, so a thread of its own makes it and ends.
        std::thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(Self::become_new)?
            .join()
            .map_err(|_| io::Error::other("the thread that makes a network namespace panicked"))?
    }

    fn become_new() -> io::Result<Self> {
        enter_new()?;
        // Docker's defaults: any user may listen on any port and send echo requests; the namespace is the container's own.
        for (name, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")] {
            std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value)?;
        }
        let fd =
            rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut route = Socket::open_route()?;
        link::set_up(&mut route, link::LOOPBACK_INDEX)?;
        Ok(Self { fd, route })
    }
}

#[expect(unsafe_code, reason = "the system call is marked unsafe because of CLONE_FILES, which is not used")]
pub(crate) fn enter_new() -> io::Result<()> {
    // SAFETY: only the network namespace of this thread changes; no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
    Ok(())
}
