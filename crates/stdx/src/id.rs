//! Identifiers as AWS writes them.

use crate::Rng;

/// 32 lower-case hex digits, the form of task and container-instance ids.
pub fn hex32(rng: &mut Rng) -> String {
    format!("{:032x}", rng.next_u128())
}

/// A version 4 UUID in its 36-character form, as in container ARNs and request ids.
pub fn uuid(rng: &mut Rng) -> String {
    let bits = rng.next_u128() & !(0xF << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let h = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let mut rng = Rng::new(3);
        assert_eq!(hex32(&mut rng).len(), 32);
        let u = uuid(&mut rng);
        assert_eq!((u.len(), &u[14..15]), (36, "4"));
        assert!(matches!(&u[19..20], "8" | "9" | "a" | "b"));
    }
}
