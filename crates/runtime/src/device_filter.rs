//! Which devices a v2 cgroup may use: a small BPF program, where v1 has files.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// One instruction: code, registers, jump, constant.
type Instruction = (u8, u8, i16, i32);

const LOAD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xb7;
const COPY: u8 = 0xbf;
const JUMP_UNLESS: u8 = 0x55;
const EXIT: u8 = 0x95;

// Registers while the program runs; 1 points to the request.
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// One line such as `c 1:3 rwm` or `b *:* m`.
struct Rule {
    kind: i32,
    major: Option<i32>,
    minor: Option<i32>,
    access: i32,
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let kind = match words.next()? {
            "b" => 1,
            "c" => 2,
            _ => return None,
        };
        let (major, minor) = words.next()?.split_once(':')?;
        let number = |text: &str| if text == "*" { Some(None) } else { text.parse().ok().map(Some) };
        let bit = |c: char| match c {
            'm' => Some(1),
            'r' => Some(2),
            'w' => Some(4),
            _ => None,
        };
        let access = words.next()?.chars().try_fold(0, |all, c| bit(c).map(|b| all | b))?;
        Some(Self { kind, major: number(major)?, minor: number(minor)?, access })
    }

    /// Returns 1 if everything fits, else falls through to what follows.
    fn compile(&self) -> Vec<Instruction> {
        let mut checks = vec![(JUMP_UNLESS, TYPE, self.kind)];
        let mut all = vec![(COPY, SCRATCH | ACCESS << 4, 0, 0), (AND, SCRATCH, 0, !self.access & 7)];
        checks.push((JUMP_UNLESS, SCRATCH, 0));
        checks.extend(self.major.map(|n| (JUMP_UNLESS, MAJOR, n)));
        checks.extend(self.minor.map(|n| (JUMP_UNLESS, MINOR, n)));
        let mut left = i16::try_from(checks.len()).unwrap_or(0);
        for (code, register, value) in checks {
            // Over the checks that follow, and the two instructions that allow.
            left -= 1;
            all.push((code, register, left + 2, value));
        }
        all.extend([(MOVE, 0, 0, 1), (EXIT, 0, 0, 0)]);
        all
    }
}

/// A program that allows what the rules say and nothing else.
pub(crate) fn load<'a>(rules: impl Iterator<Item = &'a str>) -> io::Result<OwnedFd> {
    let bad = |rule: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{rule} is no device rule"));
    let mut program: Vec<Instruction> = vec![
        (LOAD, TYPE | 1 << 4, 0, 0),
        (AND, TYPE, 0, 0xFFFF),
        (LOAD, ACCESS | 1 << 4, 0, 0),
        (SHIFT_RIGHT, ACCESS, 0, 16),
        (LOAD, MAJOR | 1 << 4, 4, 0),
        (LOAD, MINOR | 1 << 4, 8, 0),
    ];
    for rule in rules {
        program.extend(Rule::parse(rule).ok_or_else(|| bad(rule))?.compile());
    }
    program.extend([(MOVE, 0, 0, 0), (EXIT, 0, 0, 0)]);
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for (code, registers, jump, value) in &program {
        bytes.extend([*code, *registers]);
        bytes.extend(jump.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
    }
    let license = c"Apache-2.0";
    let count = u64::try_from(program.len()).unwrap_or(0);
    // Type and count share the first word, as two 32-bit numbers.
    let mut attributes = [0_u64; 16];
    attributes[0] = pair(TYPE_CGROUP_DEVICE, u32::try_from(count).unwrap_or(0));
    attributes[1] = bytes.as_ptr() as u64;
    attributes[2] = license.as_ptr() as u64;
    let fd = bpf(PROG_LOAD, &attributes)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts the program in front of every use of a device by processes of the group.
pub(crate) fn attach(program: &OwnedFd, group: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = [0_u64; 16];
    attributes[0] = pair(group.as_raw_fd().unsigned_abs(), program.as_raw_fd().unsigned_abs());
    attributes[1] = pair(ATTACH_CGROUP_DEVICE, ALLOW_MULTI);
    bpf(PROG_ATTACH, &attributes).map(drop)
}

fn pair(first: u32, second: u32) -> u64 {
    let (a, b) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
}

fn bpf(command: libc::c_int, attributes: &[u64; 16]) -> io::Result<libc::c_long> {
    let size = libc::c_uint::try_from(size_of_val(attributes)).unwrap_or(0);
    // SAFETY: the attributes, and the instructions and the string that they point to, live through the call; unused
    // fields are zero, as the kernel demands.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::STANDARD_DEVICES;
    use std::os::fd::AsFd;
    use std::path::Path;
    use std::process::Command;

    /// Needs root and a v2 hierarchy, also beside v1.
    #[test]
    fn standard_devices_are_usable_and_others_are_not() {
        let roots = [Path::new("/sys/fs/cgroup/unified"), Path::new("/sys/fs/cgroup")];
        let root = roots.into_iter().find(|r| r.join("cgroup.procs").exists()).expect("a v2 hierarchy");
        let group = root.join(format!("wharf-test-{}", std::process::id()));
        std::fs::create_dir(&group).expect("makes a group: this test needs root");
        let directory = std::fs::File::open(&group).expect("opens");
        let program = load(STANDARD_DEVICES.into_iter()).expect("the kernel takes the program");
        attach(&program, directory.as_fd()).expect("attaches");
        let can = |what: &str| {
            let script = format!("echo 0 > {}/cgroup.procs && {what}", group.display());
            Command::new("sh").args(["-c", &script]).status().expect("runs").success()
        };
        let results = [
            can("head -c1 /dev/zero > /dev/null"),
            can("head -c1 /dev/kmsg > /dev/null"),
            can(": > /dev/kmsg"),
        ];
        std::fs::remove_dir(&group).expect("removes");
        assert_eq!(results, [true, false, false]);
        assert!(load(["x 1:1 r"].into_iter()).is_err());
    }
}
