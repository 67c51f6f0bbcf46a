//! Ranges of IPv4 addresses.

use crate::error::{NetworkError, Result};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl Subnet {
    /// The range that contains `address`; host bits are dropped.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { base: u32::from(address) & mask(prefix), prefix }
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    pub fn network(self) -> Ipv4Addr {
        self.base.into()
    }

    /// How many addresses hosts can have: all but the first and the last.
    pub fn hosts(self) -> u32 {
        (!mask(self.prefix)).saturating_sub(1)
    }

    /// The n-th host address, counted from 1.
    pub fn host(self, n: u32) -> Ipv4Addr {
        self.base.wrapping_add(n).into()
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.base
    }

    pub fn overlaps(self, other: Self) -> bool {
        let shorter = self.prefix.min(other.prefix);
        self.base & mask(shorter) == other.base & mask(shorter)
    }

    /// The n-th range of `prefix` bits inside this one.
    pub fn part(self, n: u32, prefix: u8) -> Option<Self> {
        let prefix = prefix.max(self.prefix);
        let size = 1_u64 << (32 - u32::from(prefix));
        let base = u64::from(self.base) + u64::from(n) * size;
        let part = Self { base: u32::try_from(base).ok()?, prefix };
        self.overlaps(part).then_some(part)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || NetworkError::BadSubnet(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        if !(8..=28).contains(&prefix) {
            return Err(bad());
        }
        Ok(Self::new(address.parse().map_err(|_| bad())?, prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_overlap_their_whole_and_nothing_else() {
        let whole: Subnet = "172.29.0.0/16".parse().expect("parses");
        assert_eq!(whole.part(1, 22).expect("inside").to_string(), "172.29.4.0/22");
        assert_eq!(whole.part(64, 22), None);
        assert_eq!(whole.part(0, 22).expect("inside").hosts(), 1022);
        assert!(whole.overlaps("172.16.0.0/12".parse().expect("parses")));
        assert!(!whole.overlaps("172.30.0.0/16".parse().expect("parses")));
        assert!(whole.contains(whole.host(2)) && !whole.contains(Ipv4Addr::new(172, 30, 0, 1)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["172.29.0.0", "172.29.0.0/33", "x/16", "10.0.0.0/30", ""] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }
}
