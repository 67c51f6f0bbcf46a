//! Paging tokens: those of GetLogEvents mark a place between two events, the others carry the place of the last one.

use crate::Error;

fn invalid() -> Error {
    Error::invalid("The specified nextToken is invalid.")
}

/// A token of GetLogEvents. Position and time order the events of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// On with the events behind this one.
    Forward(i64, u64),
    /// Back to the events before this one.
    Backward(i64, u64),
}

impl Cursor {
    /// `f/` or `b/` and 56 digits, as AWS's tokens look: a mark of the stream, time, position.
    pub(crate) fn seal(self, stream: &str) -> String {
        let (letter, (timestamp, position)) = match self {
            Self::Forward(timestamp, position) => ('f', (timestamp, position)),
            Self::Backward(timestamp, position) => ('b', (timestamp, position)),
        };
        // Shifted by one, since the place before the first moment of all is at -1.
        let time = timestamp.saturating_add(1).max(0);
        format!("{letter}/{:016}{time:020}{position:020}/s", mark(stream))
    }

    pub(crate) fn open(token: &str, stream: &str) -> Result<Self, Error> {
        let (letter, digits) = token.split_once('/').ok_or_else(invalid)?;
        let digits =
            digits.strip_suffix("/s").filter(|d| d.len() == 56 && d.is_ascii()).ok_or_else(invalid)?;
        let of_stream: u64 = digits[..16].parse().map_err(|_| invalid())?;
        let time: i64 = digits[16..36].parse().map_err(|_| invalid())?;
        let position: u64 = digits[36..].parse().map_err(|_| invalid())?;
        if of_stream != mark(stream) {
            return Err(invalid());
        }
        match letter {
            "f" => Ok(Self::Forward(time - 1, position)),
            "b" => Ok(Self::Backward(time - 1, position)),
            _ => Err(invalid()),
        }
    }

    /// The same place, to go the other way.
    pub(crate) fn turned(self) -> Self {
        match self {
            Self::Forward(timestamp, position) => match position.checked_add(1) {
                Some(position) => Self::Backward(timestamp, position),
                None => Self::Backward(timestamp.saturating_add(1), 0),
            },
            Self::Backward(timestamp, position) => match position.checked_sub(1) {
                Some(position) => Self::Forward(timestamp, position),
                None => Self::Forward(timestamp.saturating_sub(1), u64::MAX),
            },
        }
    }
}

/// A stream's number below 10¹⁶, against tokens used with another stream.
pub(crate) fn mark(stream: &str) -> u64 {
    fingerprint(stream) % 10_000_000_000_000_000
}

/// FNV-1a: a check against mix-ups, not against forgery, since a token gives no rights.
fn fingerprint(text: &str) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    text.bytes().fold(0xCBF2_9CE4_8422_2325, fold)
}

/// A token that carries a text and is bound to the filters it was made with.
pub(crate) fn seal(text: &str, filters: &str) -> String {
    let check = fingerprint(&format!("{filters}\0{text}"));
    let hex: String = text.bytes().map(|b| format!("{b:02x}")).collect();
    format!("{check:016x}{hex}")
}

/// The text in a token.
pub(crate) fn open(token: &str, filters: &str) -> Result<String, Error> {
    let (check, hex) = token.split_at_checked(16).filter(|_| token.is_ascii()).ok_or_else(invalid)?;
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    let right = format!("{:016x}", fingerprint(&format!("{filters}\0{text}")));
    if check == right { Ok(text) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cursors_come_back(timestamp in -1_i64..i64::MAX - 1, position: u64, stream in "[a-z/]{1,20}") {
            for cursor in [Cursor::Forward(timestamp, position), Cursor::Backward(timestamp, position)] {
                let token = cursor.seal(&stream);
                prop_assert_eq!(Cursor::open(&token, &stream).expect("a token of its own"), cursor);
                prop_assert!(Cursor::open(&token, "another stream").is_err());
            }
        }

        #[test]
        fn texts_come_back(text: String, filters: String, junk: String) {
            prop_assert_eq!(open(&seal(&text, &filters), &filters).expect("a token of its own"), text.clone());
            let other = format!("{filters}x");
            prop_assert!(open(&seal(&text, &filters), &other).is_err());
            prop_assert!(open(&junk, &filters).is_err());
        }
    }
}
