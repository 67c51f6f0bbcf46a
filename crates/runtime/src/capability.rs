//! Linux capabilities by name and number.

use serde::{Deserialize, Serialize};

/// In the kernel's order, so that the index is the number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default set.
const STANDARD: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Capabilities(pub(crate) u64);

impl Capabilities {
    pub(crate) fn standard() -> Self {
        Self(STANDARD.iter().filter_map(|name| bit(name)).fold(0, |all, bit| all | bit))
    }

    pub(crate) fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// Docker's rule: additions and removals of single ones are laid over the default set; `ALL` in either replaces it.
    pub(crate) fn adjusted(add: &[String], drop: &[String]) -> Result<Self, String> {
        let is_all = |name: &String| plain(name) == "ALL";
        let base = match (add.iter().any(is_all), drop.iter().any(is_all)) {
            (true, _) => Self::all(),
            (false, true) => Self::default(),
            (false, false) => Self::standard(),
        };
        let set = |names: &[String]| {
            names.iter().filter(|n| !is_all(n)).try_fold(0, |all, name| {
                bit(&plain(name)).map(|bit| all | bit).ok_or_else(|| format!("unknown capability {name}"))
            })
        };
        let (add_bits, drop_bits) = (set(add)?, set(drop)?);
        // Additions win over `drop: ALL`, removals over `add: ALL`.
        Ok(Self((base.0 & !drop_bits) | add_bits))
    }

    pub(crate) fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    pub(crate) fn with(self, names: &[&str]) -> Self {
        names.iter().filter_map(|name| bit(name)).fold(self, |all, bit| Self(all.0 | bit))
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The numbers of those that are missing here.
    pub(crate) fn missing(self) -> impl Iterator<Item = i32> {
        (0..64).filter(move |n| self.0 & (1 << n) == 0)
    }

    /// As the OCI runtime specification writes them.
    pub(crate) fn oci_names(self) -> Vec<String> {
        let names = NAMES.iter().enumerate().filter(|(n, _)| self.0 & (1 << n) != 0);
        names.map(|(_, name)| format!("CAP_{name}")).collect()
    }
}

fn plain(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").map(str::to_owned).unwrap_or(upper)
}

fn bit(name: &str) -> Option<u64> {
    NAMES.iter().position(|n| *n == name).map(|n| 1 << n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_default_is_the_known_mask() {
        assert_eq!(Capabilities::standard().0, 0xa804_25fb);
    }

    #[test]
    fn additions_and_removals() {
        let of = |add: &[&str], drop: &[&str]| {
            let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
            Capabilities::adjusted(&own(add), &own(drop))
        };
        assert!(of(&["CAP_NET_ADMIN"], &[]).expect("known").has("NET_ADMIN"));
        assert!(!of(&[], &["mknod"]).expect("known").has("MKNOD"));
        assert_eq!(of(&["SYS_TIME"], &["ALL"]).expect("known").oci_names(), ["CAP_SYS_TIME"]);
        assert_eq!(of(&["ALL"], &[]).expect("known"), Capabilities::all());
        assert!(of(&["FLY"], &[]).expect_err("unknown").contains("FLY"));
    }
}
