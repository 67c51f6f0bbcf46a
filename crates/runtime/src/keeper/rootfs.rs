//! The container's root file system: an overlay over the image's layers, and names looked up inside it.

use crate::job::{ROOTFS, UPPER, WORK};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// Mounts the overlay at `rootfs` in the container's directory, in this process's mount namespace.
pub(crate) fn mount_overlay(dir: &Path, lowerdirs: &[PathBuf]) -> io::Result<PathBuf> {
    // Through descriptors: many long paths would not fit into one page of options, and may contain colons.
    let open = |path: &Path| {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| io::Error::new(e.kind(), format!("cannot open the layer {}: {e}", path.display())))
    };
    let lower = lowerdirs.iter().map(|l| open(l)).collect::<io::Result<Vec<_>>>()?;
    let (upper, work) = (open(&dir.join(UPPER))?, open(&dir.join(WORK))?);
    let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.iter().map(name).collect::<Vec<_>>().join(":"),
        name(&upper),
        name(&work)
    );
    let target = dir.join(ROOTFS);
    let mount = |options: &str| {
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount("overlay", &target, "overlay", MountFlags::empty(), Some(options.as_c_str()))
    };
    // A container's files need not survive a power cut, so nothing is synced; kernels before 5.10 do not know that.
    match mount(&format!("{options},volatile")) {
        Err(Errno::INVAL) => mount(&options).map_err(|e| explain(e, dir))?,
        other => other.map_err(|e| explain(e, dir))?,
    }
    Ok(target)
}

fn explain(errno: Errno, dir: &Path) -> io::Error {
    let advice = match errno {
        Errno::NODEV => "this kernel has no overlayfs: load the module (`modprobe overlay`)",
        Errno::INVAL => {
            "if the data directory lies on an overlay (inside another container) or on a network file system, \
             put it on a local one such as ext4 or xfs"
        }
        Errno::PERM => "Wharf must run as root",
        _ => "see the kernel's log",
    };
    io::Error::new(errno.kind(), format!("cannot mount the overlay of {}: {errno}; {advice}", dir.display()))
}

/// A root directory; nothing looked up in it leaves it, whatever links the image contains.
pub(crate) struct Root(OwnedFd);

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    fn find(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    /// A small text file of the image; empty if it does not exist.
    fn read(&self, path: &str) -> String {
        const BYTES_MAX: u64 = 4 << 20;
        let mut text = String::new();
        let Ok(fd) = self.find(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK) else { return text };
        // What is no text holds no names.
        drop(File::from(fd).take(BYTES_MAX).read_to_string(&mut text));
        text
    }

    /// Makes a directory and its parents where they are missing, as Docker does with working directories.
    pub(crate) fn make_dirs(&self, path: &Path) -> io::Result<()> {
        let mut so_far = PathBuf::from("/");
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let parent = self.find(&so_far, OFlags::PATH | OFlags::DIRECTORY)?;
            so_far.push(name);
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.find(&so_far, OFlags::PATH | OFlags::DIRECTORY).map_err(|errno| {
            io::Error::new(errno.kind(), format!("the working directory {} is no directory", path.display()))
        })?;
        Ok(())
    }

    pub(crate) fn user(&self, text: &str) -> Result<User, String> {
        User::find(text, &self.read("/etc/passwd"), &self.read("/etc/group"))
    }
}

/// Who a container's program runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

impl User {
    /// Docker's rules: `user[:group]` by name or number; a number need not exist; without a group the user's own and
    /// those that list it are taken.
    fn find(text: &str, passwd: &str, group: &str) -> Result<Self, String> {
        let (user, chosen_group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let entry = rows(passwd).find(|row| row.first() == Some(&user) || row.get(2) == Some(&user));
        let number = |row: &[&str], n: usize| row.get(n).and_then(|v| v.parse::<u32>().ok());
        let uid = match (&entry, user.parse::<u32>()) {
            (Some(row), _) => {
                number(row, 2).ok_or_else(|| format!("the image's /etc/passwd has no uid for {user}"))?
            }
            (None, Ok(uid)) => uid,
            (None, Err(_)) => {
                return Err(format!("unable to find user {user}: no matching entries in passwd file"));
            }
        };
        if let Some(name) = chosen_group {
            let found = rows(group).find(|row| row.first() == Some(&name)).and_then(|row| number(&row, 2));
            let gid = found.or_else(|| name.parse().ok());
            let gid =
                gid.ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))?;
            return Ok(Self { uid, gid, groups: Vec::new() });
        }
        let Some(row) = entry else { return Ok(Self { uid, gid: 0, groups: Vec::new() }) };
        let name = row.first().copied().unwrap_or_default();
        let lists = |row: &[&str]| row.get(3).is_some_and(|members| members.split(',').any(|m| m == name));
        let groups = rows(group).filter(|row| lists(row)).filter_map(|row| number(&row, 2)).collect();
        Ok(Self { uid, gid: number(&row, 3).unwrap_or(0), groups })
    }
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|l| !l.trim_start().starts_with('#')).map(|line| line.trim().split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/:/bin/false\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:web,other\nlogs:x:51:web\n";

    #[test]
    fn users_follow_dockers_rules() {
        let find = |text| User::find(text, PASSWD, GROUP);
        let user = |uid, gid, groups: &[u32]| Ok(User { uid, gid, groups: groups.to_vec() });
        assert_eq!(find(""), user(0, 0, &[]));
        assert_eq!(find("web"), user(33, 44, &[50, 51]));
        assert_eq!(find("33"), user(33, 44, &[50, 51]));
        assert_eq!(find("web:staff"), user(33, 50, &[]));
        assert_eq!(find("1000"), user(1000, 0, &[]));
        assert_eq!(find("1000:1001"), user(1000, 1001, &[]));
        assert!(find("nobody").expect_err("unknown").contains("unable to find user nobody"));
        assert!(find("web:none").expect_err("unknown").contains("unable to find group none"));
    }

    #[test]
    fn links_in_an_image_do_not_lead_out() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(dir.path().join("etc")).expect("makes");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("etc/passwd")).expect("links");
        std::os::unix::fs::symlink("/", dir.path().join("out")).expect("links");
        let root = Root::open(dir.path()).expect("opens");
        assert!(root.user("root").is_err(), "the host's passwd was read");
        root.make_dirs(Path::new("/out/made/here")).expect("makes");
        assert!(dir.path().join("made/here").is_dir());
        root.make_dirs(Path::new("/../../x")).expect("makes");
        assert!(dir.path().join("x").is_dir());
    }
}
