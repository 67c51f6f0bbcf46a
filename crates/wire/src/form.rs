//! `application/x-www-form-urlencoded` text: pairs and percent-encoding.

use crate::Malformed;
use std::borrow::Cow;

/// A key and its value, decoded.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The pairs of a form body or a query string, in their order.
pub(crate) fn pairs(body: &[u8]) -> Result<Vec<Pair<'_>>, Malformed> {
    let text =
        std::str::from_utf8(body).map_err(|_| Malformed("The request is not UTF-8 text".to_owned()))?;
    let parts = text.trim_end_matches(['\r', '\n']).split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match (decode(key, true), decode(value, true)) {
                (Some(key), Some(value)) => Ok((key, value)),
                _ => Err(Malformed(format!("Invalid percent-encoding in '{}'", clip(part)))),
            }
        })
        .collect()
}

/// The first 100 characters or so.
fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Undoes percent-encoding; `plus` says whether a plus sign stands for a space. `None` when the escapes are broken or
/// do not make UTF-8.
pub(crate) fn decode(text: &str, plus: bool) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|&byte| byte == b'%' || (plus && byte == b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'+' if plus => out.push(b' '),
            b'%' => {
                let high = char::from(*bytes.get(at)?).to_digit(16)?;
                let low = char::from(*bytes.get(at + 1)?).to_digit(16)?;
                out.push(u8::try_from(high * 16 + low).ok()?);
                at += 2;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// A query string's names and values, decoded; a text whose escapes are broken is left as it is.
pub(crate) fn parameters(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| decode(text, true).map_or_else(|| text.to_owned(), Cow::into_owned);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(n, v)| (decode(n), decode(v)))
        .collect()
}

/// Percent-encodes everything but RFC 3986's unreserved characters, as SigV4 wants; `keep_slash` for paths.
pub(crate) fn encode_into(out: &mut String, bytes: &[u8], keep_slash: bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let read = pairs(b"a=1&b+c=%C3%A9+%2B&&d&e=f=g\n").unwrap();
        let read: Vec<_> = read.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(read, [("a", "1"), ("b c", "é +"), ("d", ""), ("e", "f=g")]);
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["a=%", "a=%4", "a=%zz", "%ff=1", "a=%C3"] {
            assert!(pairs(text.as_bytes()).is_err(), "{text}");
        }
        assert!(pairs(b"\xff").is_err());
    }

    #[test]
    fn encoding_keeps_unreserved_characters() {
        let mut out = String::new();
        encode_into(&mut out, "aZ9-._~/é +".as_bytes(), true);
        encode_into(&mut out, b"/", false);
        assert_eq!(out, "aZ9-._~/%C3%A9%20%2B%2F");
    }
}
