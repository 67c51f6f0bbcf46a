//! Parses the paths of the distribution API, from the right because repository names contain slashes.

use crate::{Error, ImageId};
use image::Digest;

/// ECR's limits for repository names.
const NAME_MIN: usize = 2;
const NAME_MAX: usize = 256;

/// Every path that the API knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Base,
    Catalog,
    Tags { name: String },
    Manifest { name: String, id: ImageId },
    Blob { name: String, digest: Digest },
    Uploads { name: String },
    Upload { name: String, id: String },
    Referrers { name: String, digest: Digest },
}

impl Route {
    pub(crate) fn parse(path: &str) -> Result<Self, Error> {
        let path = decode(path).ok_or(Error::NoSuchRoute)?;
        let rest = path.strip_prefix("/v2").ok_or(Error::NoSuchRoute)?;
        match rest {
            "" | "/" => return Ok(Self::Base),
            "/_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        let rest = rest.strip_prefix('/').ok_or(Error::NoSuchRoute)?;
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags { name: valid_name(name)? });
        }
        if let Some(name) =
            rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Ok(Self::Uploads { name: valid_name(name)? });
        }
        let (head, last) = rest.rsplit_once('/').ok_or(Error::NoSuchRoute)?;
        if let Some(name) = head.strip_suffix("/blobs/uploads") {
            return Ok(Self::Upload { name: valid_name(name)?, id: last.to_owned() });
        }
        let (name, kind) = head.rsplit_once('/').ok_or(Error::NoSuchRoute)?;
        match kind {
            "manifests" => Ok(Self::Manifest { name: valid_name(name)?, id: image_id(last)? }),
            "blobs" => Ok(Self::Blob { name: valid_name(name)?, digest: digest(last)? }),
            "referrers" => Ok(Self::Referrers { name: valid_name(name)?, digest: digest(last)? }),
            _ => Err(Error::NoSuchRoute),
        }
    }
}

pub(crate) fn digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|error: image::Error| Error::DigestInvalid(error.to_string()))
}

fn image_id(text: &str) -> Result<ImageId, Error> {
    if text.contains(':') {
        return Ok(ImageId::Digest(digest(text)?));
    }
    if image::is_tag(text) {
        return Ok(ImageId::Tag(text.to_owned()));
    }
    Err(Error::TagInvalid(format!("'{text}' is no valid image tag")))
}

/// ECR's text for a name that its pattern refuses.
fn valid_name(name: &str) -> Result<String, Error> {
    if (NAME_MIN..=NAME_MAX).contains(&name.len()) && image::is_repository(name) {
        return Ok(name.to_owned());
    }
    Err(Error::NameInvalid(format!(
        "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression \
         '(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*'' ('{name}')"
    )))
}

/// Undoes percent-encoding; `None` if it is malformed.
pub(crate) fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

/// The value of a query parameter.
pub(crate) fn parameter(query: Option<&str>, key: &str) -> Option<String> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == key).find_map(|(_, value)| decode(&value.replace('+', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn names_with_slashes_and_misleading_parts() {
        let a: Digest = A.parse().unwrap();
        let name = |text: &str| text.to_owned();
        for (path, route) in [
            ("/v2", Route::Base),
            ("/v2/", Route::Base),
            ("/v2/_catalog", Route::Catalog),
            ("/v2/a/b/c/tags/list", Route::Tags { name: name("a/b/c") }),
            ("/v2/tags/list/tags/list", Route::Tags { name: name("tags/list") }),
            (
                "/v2/manifests/manifests/manifests",
                Route::Manifest { name: name("manifests"), id: ImageId::Tag(name("manifests")) },
            ),
            (&format!("/v2/blobs/uploads/blobs/{A}"), Route::Blob { name: name("blobs/uploads"), digest: a }),
            ("/v2/ab/blobs/uploads/", Route::Uploads { name: name("ab") }),
            ("/v2/ab/blobs/uploads", Route::Uploads { name: name("ab") }),
            ("/v2/ab/blobs/uploads/x-1", Route::Upload { name: name("ab"), id: name("x-1") }),
            (&format!("/v2/ab/referrers/{A}"), Route::Referrers { name: name("ab"), digest: a }),
            (
                &format!("/v2/ab/manifests/{}", A.replace(':', "%3A")),
                Route::Manifest { name: name("ab"), id: ImageId::Digest(a) },
            ),
        ] {
            assert_eq!(Route::parse(path).unwrap(), route, "{path}");
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (path, code) in [
            ("/v3/", "UNSUPPORTED"),
            ("/v2x", "UNSUPPORTED"),
            ("/v2/ab", "UNSUPPORTED"),
            ("/v2/ab/tags", "UNSUPPORTED"),
            ("/v2/ab/things/x", "UNSUPPORTED"),
            ("/v2/AB/tags/list", "NAME_INVALID"),
            ("/v2/a/tags/list", "NAME_INVALID"),
            ("/v2/../../etc/tags/list", "NAME_INVALID"),
            ("/v2/a%2F..%2Fb/tags/list", "NAME_INVALID"),
            ("/v2/ab/manifests/a+b", "TAG_INVALID"),
            ("/v2/ab/manifests/..", "TAG_INVALID"),
            ("/v2/ab/manifests/sha256:12", "DIGEST_INVALID"),
            ("/v2/ab/blobs/latest", "DIGEST_INVALID"),
            ("/v2/ab/blobs/sha256:%2e%2e", "DIGEST_INVALID"),
            ("/v2/ab%zz/tags/list", "UNSUPPORTED"),
        ] {
            assert_eq!(Route::parse(path).unwrap_err().code(), code, "{path}");
        }
    }

    #[test]
    fn query_parameters() {
        let query = Some("mount=sha256%3Aabc&from=a/b&x");
        assert_eq!(parameter(query, "mount").as_deref(), Some("sha256:abc"));
        assert_eq!(parameter(query, "from").as_deref(), Some("a/b"));
        assert_eq!(parameter(query, "x"), None);
        assert_eq!(parameter(None, "x"), None);
    }
}
