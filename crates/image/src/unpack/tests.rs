//! Layers as builders write them and as attackers would. These tests need root: they set owners and make devices.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use tar::{Builder, Header};

/// A layer being written; names go into the header as they are, however wicked.
struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "unpacking sets owners and makes devices: run this test as root"
        );
        Self(Builder::new(Vec::new()))
    }

    fn add(mut self, kind: EntryType, name: &str, content: &[u8], change: impl Fn(&mut Header)) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            raw.linkname[..content.len()].copy_from_slice(content);
            header.set_size(0);
        }
        change(&mut header);
        header.set_cksum();
        let content = if header.size().unwrap() == 0 { &[] } else { content };
        self.0.append(&header, content).unwrap();
        self
    }

    fn dir(self, name: &str) -> Self {
        self.add(EntryType::Directory, name, b"", |_| {})
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.add(EntryType::Regular, name, content.as_bytes(), |_| {})
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, name, target.as_bytes(), |_| {})
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Link, name, target.as_bytes(), |_| {})
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    /// Unpacks below a directory that also holds what an attacker would like to reach.
    fn unpack(self) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        let root = dir.path().join("fs");
        let result = unpack(Digest::of(b"layer"), &*self.bytes(), &root);
        Scene { dir, root, result }
    }
}

struct Scene {
    dir: tempfile::TempDir,
    root: PathBuf,
    result: Result<Unpacked, Error>,
}

impl Scene {
    #[track_caller]
    fn good(self) -> Self {
        if let Err(error) = &self.result {
            panic!("unpacking failed: {}", stdx::Chain(error));
        }
        self
    }

    /// The layer was refused and nothing outside of it was touched.
    #[track_caller]
    fn refused(self) {
        match &self.result {
            Err(Error::UnsafeEntry { .. }) => self.untouched(),
            other => panic!("this layer must be refused, not {other:?}"),
        }
    }

    #[track_caller]
    fn untouched(&self) {
        let mut names: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["fs", "outside"]);
        let mut inside = fs::read_dir(self.dir.path().join("outside")).unwrap();
        assert_eq!(inside.next().unwrap().unwrap().file_name(), "secret");
        assert!(inside.next().is_none());
        let secret = self.dir.path().join("outside/secret");
        assert_eq!(fs::read(&secret).unwrap(), b"secret");
        assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
    }

    fn stat(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.root.join(path)).unwrap()
    }

    fn xattr(&self, path: &str, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 256];
        let length = rustix::fs::lgetxattr(self.root.join(path), name, &mut value).ok()?;
        value.truncate(length);
        Some(value)
    }
}

#[test]
fn keeps_what_a_tar_says() {
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let scene = Tar::new()
        .add(EntryType::Directory, "./", b"", |h| h.set_mode(0o711))
        .add(EntryType::Directory, "srv/", b"", |h| {
            h.set_mode(0o2750);
            h.set_uid(7);
            h.set_gid(8);
        })
        .add(EntryType::Regular, "srv/tool", b"#!", |h| {
            h.set_mode(0o4755);
            h.set_uid(1000);
        })
        .hard("srv/same", "srv/tool")
        .symlink("srv/link", "../../../etc/passwd")
        .add(EntryType::Char, "null", b"", |h| {
            h.set_device_major(1).unwrap();
            h.set_device_minor(3).unwrap();
            h.set_mode(0o666);
        })
        .add(EntryType::Fifo, "pipe", b"", |_| {})
        .pax(&[
            ("mtime", b"1234567890.5"),
            ("SCHILY.xattr.user.note", b"hello"),
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ])
        .file("srv/ping", "x")
        .file("a/b/implied", "y")
        .unpack()
        .good();
    assert_eq!(scene.stat("").mode() & 0o7777, 0o711);
    let srv = scene.stat("srv");
    assert_eq!((srv.mode() & 0o7777, srv.uid(), srv.gid(), srv.mtime()), (0o2750, 7, 8, 1_000_000_000));
    let tool = scene.stat("srv/tool");
    assert_eq!((tool.mode() & 0o7777, tool.uid(), tool.mtime()), (0o4755, 1000, 1_000_000_000));
    assert_eq!((tool.ino(), tool.nlink()), (scene.stat("srv/same").ino(), 2));
    assert_eq!(fs::read_link(scene.root.join("srv/link")).unwrap().as_os_str(), "../../../etc/passwd");
    let null = scene.stat("null");
    assert!(null.file_type().is_char_device());
    assert_eq!((null.rdev(), null.mode() & 0o777), (rustix::fs::makedev(1, 3), 0o666));
    assert!(scene.stat("pipe").file_type().is_fifo());
    let ping = scene.stat("srv/ping");
    assert_eq!((ping.mtime(), ping.mtime_nsec()), (1_234_567_890, 500_000_000));
    assert_eq!(scene.xattr("srv/ping", "user.note").unwrap(), b"hello");
    assert_eq!(scene.xattr("srv/ping", "security.capability").unwrap(), capability);
    assert_eq!(scene.xattr("srv/ping", "trusted.overlay.redirect"), None);
    assert_eq!(scene.stat("a/b").permissions().mode() & 0o777, 0o755);
}

#[test]
fn whiteouts_become_what_overlayfs_reads() {
    let scene = Tar::new()
        .file("etc/.wh.passwd", "")
        .dir("var")
        .file("var/.wh..wh..opq", "")
        .file("var/new", "n")
        .file(".wh..wh.plnk", "")
        // Within one layer a whiteout means the lower entry, in whichever order both come.
        .file("opt/.wh.tool", "")
        .file("opt/tool", "t")
        .file("opt/other", "o")
        .file("opt/.wh.other", "")
        .file(".wh.lib", "")
        .dir("lib")
        .unpack()
        .good();
    let passwd = scene.stat("etc/passwd");
    assert!(passwd.file_type().is_char_device() && passwd.rdev() == 0);
    assert_eq!(scene.xattr("var", "trusted.overlay.opaque").unwrap(), b"y");
    assert_eq!(fs::read(scene.root.join("var/new")).unwrap(), b"n");
    assert!(!scene.root.join(".wh..wh.plnk").exists());
    assert_eq!(fs::read(scene.root.join("opt/tool")).unwrap(), b"t");
    assert_eq!(fs::read(scene.root.join("opt/other")).unwrap(), b"o");
    assert_eq!(scene.xattr("lib", "trusted.overlay.opaque").unwrap(), b"y");
}

#[test]
fn later_entries_replace_earlier_ones() {
    let scene = Tar::new()
        .dir("a")
        .file("a/x", "1")
        .file("a/x", "2")
        .file("b/deep/er", "3")
        .file("b", "now a file")
        .symlink("c", "a")
        .dir("c")
        .file("c/y", "4")
        .unpack()
        .good();
    assert_eq!(fs::read(scene.root.join("a/x")).unwrap(), b"2");
    assert_eq!(fs::read(scene.root.join("b")).unwrap(), b"now a file");
    assert!(scene.stat("c").is_dir());
    assert!(!scene.root.join("a/y").exists());
}

#[test]
fn links_inside_the_layer_are_followed() {
    let scene = Tar::new().dir("usr/lib").symlink("lib", "usr/lib").file("lib/so", "so").unpack().good();
    assert_eq!(fs::read(scene.root.join("usr/lib/so")).unwrap(), b"so");
}

#[test]
fn absolute_names_stay_inside() {
    let scene = Tar::new().file("/etc/passwd", "p").hard("/copy", "/etc/passwd").unpack().good();
    assert_eq!(fs::read(scene.root.join("copy")).unwrap(), b"p");
    scene.untouched();
}

#[test]
fn dot_dot_is_refused() {
    Tar::new().file("../evil", "e").unpack().refused();
    Tar::new().file("a/../../evil", "e").unpack().refused();
    Tar::new().file("/../evil", "e").unpack().refused();
    Tar::new().dir("..").unpack().refused();
    Tar::new().symlink("../evil", "x").unpack().refused();
    Tar::new().add(EntryType::Char, "../evil", b"", |_| {}).unpack().refused();
}

#[test]
fn names_in_pax_headers_are_checked_too() {
    Tar::new().pax(&[("path", b"../evil")]).file("harmless", "e").unpack().refused();
    Tar::new().file("a", "a").pax(&[("linkpath", b"../outside/secret")]).hard("b", "a").unpack().refused();
    Tar::new().pax(&[("path", b"a/../../outside/secret")]).file("harmless", "e").unpack().refused();
}

#[test]
fn planted_symlinks_lead_nowhere() {
    Tar::new().symlink("out", "../outside").file("out/secret", "evil").unpack().refused();
    Tar::new().symlink("out", "/tmp").file("out/wharf-evil", "evil").unpack().refused();
    Tar::new().symlink("a", "b").symlink("b", "../outside").file("a/new", "evil").unpack().refused();
    Tar::new().symlink("out", "../outside").dir("out/sub/").unpack().refused();
    Tar::new().symlink("out", "../outside").symlink("out/evil", "x").unpack().refused();
    Tar::new().symlink("self", "self").file("self/x", "evil").unpack().refused();
    Tar::new().symlink("proc", "/proc/self/root").file("proc/tmp/wharf-evil", "evil").unpack().refused();
}

#[test]
fn a_symlink_is_replaced_not_written_through() {
    let scene = Tar::new().symlink("out", "../outside/secret").file("out", "mine").unpack().good();
    assert_eq!(fs::read(scene.root.join("out")).unwrap(), b"mine");
    scene.untouched();
    let scene = Tar::new().symlink("dir", "../outside").dir("dir").file("dir/secret", "mine").unpack().good();
    assert_eq!(fs::read(scene.root.join("dir/secret")).unwrap(), b"mine");
    scene.untouched();
}

#[test]
fn hard_links_to_outside_are_refused() {
    Tar::new().hard("evil", "../outside/secret").unpack().refused();
    Tar::new().symlink("out", "../outside").hard("evil", "out/secret").unpack().refused();
    Tar::new().symlink("out", "../outside").file("f", "f").hard("out/evil", "f").unpack().refused();
    // A link to a link is a link: nothing is followed.
    let scene = Tar::new().symlink("out", "../outside/secret").hard("same", "out").unpack().good();
    assert!(scene.stat("same").is_symlink());
    scene.untouched();
    // Absolute names mean the layer's root, where there is no such file.
    let scene = Tar::new().hard("evil", "/etc/hostname").unpack();
    assert!(matches!(scene.result, Err(Error::DamagedLayer { .. })), "{:?}", scene.result);
}

#[test]
fn whiteouts_naming_outside_are_refused() {
    Tar::new().file("../.wh.outside", "").unpack().refused();
    Tar::new().file(".wh...", "").unpack().refused();
    Tar::new().file(".wh..", "").unpack().refused();
    Tar::new().file(".wh.", "").unpack().refused();
    Tar::new().symlink("out", "../outside").file("out/.wh.secret", "").unpack().refused();
    Tar::new().symlink("out", "../outside").file("out/.wh..wh..opq", "").unpack().refused();
}

/// Whatever a layer holds and in whichever order, nothing outside of its tree changes.
#[test]
fn random_layers_touch_nothing_outside() {
    const PARTS: [&str; 12] =
        ["a", "b", "a", "b", "..", ".", "", "outside", ".wh.a", ".wh...", ".wh..wh..opq", "secret"];
    // Nothing here leads to the machine's own files, should this test ever fail.
    const TARGETS: [&str; 7] = ["../outside", "..", "a", "b/a", "../outside/secret", ".", "a/../../outside"];
    let mut unpacked = 0;
    for seed in 0..250 {
        let mut rng = stdx::Rng::new(seed);
        let mut tar = Tar::new();
        for _ in 0..2 + rng.index(10) {
            let parts: Vec<&str> = (0..1 + rng.index(3)).map(|_| PARTS[rng.index(PARTS.len())]).collect();
            let name = parts.join("/");
            let target = TARGETS[rng.index(TARGETS.len())];
            tar = match rng.index(5) {
                0 => tar.dir(&name),
                1 => tar.symlink(&name, target),
                2 => tar.hard(&name, target),
                _ => tar.file(&name, "evil"),
            };
        }
        let scene = tar.unpack();
        unpacked += usize::from(scene.result.is_ok());
        scene.untouched();
    }
    assert!(unpacked > 20, "only {unpacked} layers were unpacked whole: this test looks at nothing");
}

#[test]
fn compressions_are_recognised_and_the_digest_is_of_the_plain_stream() {
    let plain = Tar::new().file("f", "content").bytes();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&plain[..600]).unwrap();
    let mut gzip = gzip.finish().unwrap();
    // Two members, as pigz and eStargz write.
    let mut second = GzEncoder::new(Vec::new(), Compression::fast());
    second.write_all(&plain[600..]).unwrap();
    gzip.extend(second.finish().unwrap());
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let mut zstd = ruzstd::encoding::compress_to_vec(&plain[..600], level);
    zstd.extend([0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    zstd.extend(ruzstd::encoding::compress_to_vec(&plain[600..], level));
    for (name, bytes) in [("plain", plain.clone()), ("gzip", gzip), ("zstd", zstd)] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("fs");
        let unpacked = unpack(Digest::of(&bytes), &*bytes, &root)
            .unwrap_or_else(|e| panic!("{name}: {}", stdx::Chain(&e)));
        assert_eq!((unpacked.diff_id, unpacked.size), (Digest::of(&plain), plain.len() as u64), "{name}");
        assert_eq!(fs::read(root.join("f")).unwrap(), b"content", "{name}");
    }
}

#[test]
fn damaged_layers_are_errors() {
    let plain = Tar::new().file("f", &"x".repeat(5000)).bytes();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let garbage = vec![0xA5; 4096];
    for bytes in [&plain[..1000], &gzip[..gzip.len() / 2], &garbage[..], &[0x28, 0xB5, 0x2F, 0xFD, 9]] {
        let dir = tempfile::tempdir().unwrap();
        let result = unpack(Digest::of(bytes), bytes, &dir.path().join("fs"));
        assert!(matches!(result, Err(Error::DamagedLayer { .. })), "{result:?}");
    }
}

#[test]
fn dates_before_the_epoch_and_fractions() {
    assert_eq!(pax_time(b"12"), Some((12, 0)));
    assert_eq!(pax_time(b"12.000000001234"), Some((12, 1)));
    assert_eq!(pax_time(b"-1.25"), Some((-2, 750_000_000)));
    assert_eq!(pax_time(b"x"), None);
    assert_eq!(pax_time("1.\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}".as_bytes()), None);
}
