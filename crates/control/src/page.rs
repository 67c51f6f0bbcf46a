//! Pagination: opaque tokens that name the last item of a page and the filters that it was made with.

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_token: Option<String>,
}

/// A token that this list did not give out.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidToken;

/// Cuts a page of at most `limit` out of `items`, which must come in order of their keys.
///
/// The token carries the key of the last item, so that a page begins right behind it even if that item is gone;
/// `filters` must be the same on every page.
pub fn page<T>(
    items: impl Iterator<Item = T>,
    key: impl Fn(&T) -> String,
    limit: usize,
    filters: &str,
    token: Option<&str>,
) -> Result<Page<T>, InvalidToken> {
    let after = position(token, filters)?;
    Ok(cut(items.filter(|item| after.as_ref().is_none_or(|after| key(item) > *after)), &key, limit, filters))
}

/// As [`page`], of items that come in the opposite order of their keys.
pub fn page_descending<T>(
    items: impl Iterator<Item = T>,
    key: impl Fn(&T) -> String,
    limit: usize,
    filters: &str,
    token: Option<&str>,
) -> Result<Page<T>, InvalidToken> {
    let after = position(token, filters)?;
    Ok(cut(items.filter(|item| after.as_ref().is_none_or(|after| key(item) < *after)), &key, limit, filters))
}

/// The key behind which a page begins. A list that can start anywhere starts there, and need not skip what came before.
pub fn position(token: Option<&str>, filters: &str) -> Result<Option<String>, InvalidToken> {
    token.map(|token| open(token, filters)).transpose()
}

fn cut<T>(
    mut rest: impl Iterator<Item = T>,
    key: &impl Fn(&T) -> String,
    limit: usize,
    filters: &str,
) -> Page<T> {
    let items: Vec<T> = rest.by_ref().take(limit).collect();
    let next_token = match items.last() {
        Some(last) if rest.next().is_some() => Some(seal(&key(last), filters)),
        _ => None,
    };
    Page { items, next_token }
}

fn seal(key: &str, filters: &str) -> String {
    let text = format!("{:016x}{key}", fingerprint(key, filters));
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

fn open(token: &str, filters: &str) -> Result<String, InvalidToken> {
    if !token.is_ascii() || !token.len().is_multiple_of(2) {
        return Err(InvalidToken);
    }
    let bytes: Result<Vec<u8>, _> =
        (0..token.len() / 2).map(|i| u8::from_str_radix(&token[2 * i..2 * i + 2], 16)).collect();
    let text = bytes.ok().and_then(|b| String::from_utf8(b).ok()).ok_or(InvalidToken)?;
    let (mark, key) = text.split_at_checked(16).ok_or(InvalidToken)?;
    if mark == format!("{:016x}", fingerprint(key, filters)) { Ok(key.to_owned()) } else { Err(InvalidToken) }
}

/// FNV-1a: a check against mix-ups, not against forgery, since a token gives no rights.
fn fingerprint(key: &str, filters: &str) -> u64 {
    let bytes = filters.bytes().chain([0]).chain(key.bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_to_the_whole_and_tokens_are_bound_to_their_filters() {
        let all: Vec<String> = (0..25).map(|n| format!("item-{n:02}")).collect();
        let mut seen = Vec::new();
        let mut token = None;
        loop {
            let cut =
                page(all.iter().cloned(), Clone::clone, 10, "f", token.as_deref()).expect("a valid token");
            seen.extend(cut.items);
            token = cut.next_token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
        let first = page(all.iter().cloned(), Clone::clone, 10, "f", None).expect("no token");
        let token = first.next_token.expect("more than one page");
        assert_eq!(page(all.iter().cloned(), Clone::clone, 10, "g", Some(&token)), Err(InvalidToken));
        assert_eq!(page(all.iter().cloned(), Clone::clone, 10, "f", Some("zz")), Err(InvalidToken));
    }
}
