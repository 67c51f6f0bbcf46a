//! CBOR bodies, both ways.

use super::*;
use crate::shape::Type;
use crate::{Blob, Document, Member, Timestamp, structure};
use std::collections::BTreeMap;

static TEXTS: Type = Type::list(&shape::STRING);
static COUNTS: Type = Type::map(&shape::STRING, &shape::LONG);

structure! { Sample {
    text: opt String = Member::new("text", &shape::STRING, false),
    texts: opt Vec<String> = Member::new("texts", &TEXTS, false),
    counts: opt BTreeMap<String, i64> = Member::new("counts", &COUNTS, false),
    number: opt i32 = Member::new("number", &shape::INTEGER, false),
    long: opt i64 = Member::new("long", &shape::LONG, false),
    ratio: opt f64 = Member::new("ratio", &shape::DOUBLE, false),
    flag: opt bool = Member::new("flag", &shape::BOOLEAN, false),
    data: opt Blob = Member::new("data", &shape::BLOB, false),
    at: opt Timestamp = Member::new("at", &shape::TIMESTAMP, false),
    document: opt Document = Member::new("document", &shape::DOCUMENT, false),
    inner: opt Box<Sample> = Member::new("inner", &Sample, false),
} }

#[test]
fn what_is_written_is_read_back() {
    let counts =
        [0, 23, 24, 255, 256, 65_535, 65_536, 4_294_967_295, 4_294_967_296, i64::MAX, -1, -24, -25, i64::MIN];
    let sample = Sample {
        text: Some("é".repeat(40)),
        texts: Some(vec![String::new(), "a".repeat(300)]),
        counts: Some(counts.into_iter().map(|count| (count.to_string(), count)).collect()),
        number: Some(i32::MIN),
        long: Some(1),
        ratio: Some(-0.1),
        flag: Some(false),
        data: Some(Blob(vec![0, 255])),
        at: Some(Timestamp(1_712_345_678_123)),
        document: Some(serde_json::json!({"a": [1, -2, 1.5, null, true, "x", {}]})),
        inner: Some(Box::new(Sample { at: Some(Timestamp(-1000)), ..Sample::default() })),
    };
    assert_eq!(from_slice::<Sample>(&to_vec(&sample)), Ok(sample));
}

fn member(name: &str, value: &[u8]) -> Vec<u8> {
    let mut body = vec![0xa1, 0x60 + u8::try_from(name.len()).unwrap()];
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(value);
    body
}

#[test]
fn every_form_of_a_value_is_read() {
    let read = |name: &str, value: &[u8]| from_slice::<Sample>(&member(name, value)).unwrap();
    assert_eq!(read("text", b"\x7f\x61a\x60\x62bc\xff").text.as_deref(), Some("abc"));
    assert_eq!(read("data", b"\x5f\x41a\x41b\xff").data, Some(Blob(b"ab".to_vec())));
    assert_eq!(read("texts", b"\x9f\x61a\xf6\x61b\xff").texts, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(
        read("counts", b"\xbf\x61a\x01\x61b\xf7\xff").counts,
        Some(BTreeMap::from([("a".to_owned(), 1)]))
    );
    assert_eq!(read("ratio", b"\xf9\x3e\x00").ratio, Some(1.5));
    assert_eq!(read("ratio", b"\xf9\xfc\x00").ratio, Some(f64::NEG_INFINITY));
    assert_eq!(read("ratio", b"\xf9\x00\x01").ratio, Some(5.960_464_477_539_063e-8));
    assert!(read("ratio", b"\xf9\x7e\x00").ratio.unwrap().is_nan());
    assert_eq!(read("ratio", b"\xfa\x3f\xc0\x00\x00").ratio, Some(1.5));
    assert_eq!(read("ratio", b"\x02").ratio, Some(2.0));
    assert_eq!(read("at", b"\xc1\xf9\x3e\x00").at, Some(Timestamp(1500)));
    assert_eq!(read("text", b"\xf6"), Sample::default());
    assert_eq!(
        read("other", b"\x9f\xbf\x61a\x9f\xff\x61b\x5f\x41x\xff\xff\xc1\x00\x80\xa1\x01\xf4\xff"),
        Sample::default()
    );
    assert_eq!(from_slice::<Sample>(b""), Ok(Sample::default()));
}

#[test]
fn broken_bodies_are_refused() {
    for (name, value) in [
        ("text", b"\x62a".as_slice()),
        ("text", b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("text", b"\x61\xff"),
        ("text", b"\x01"),
        ("text", b"\x7f\x41a\xff"),
        ("number", b"\x1b\x00\x00\x00\x01\x00\x00\x00\x00"),
        ("long", b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("long", b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("number", b"\x1c"),
        ("flag", b"\x01"),
        ("texts", b"\x61a"),
        ("texts", b"\x82\x61a"),
        ("x", b"\xff"),
        ("x", b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("at", b"\xc1\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00"),
        ("flag", b"\xf4\xf4"),
        ("document", b"\x41a"),
    ] {
        let read = from_slice::<Sample>(&member(name, value));
        assert!(matches!(read, Err(DecodeError::Malformed(_))), "{name} {value:x?}: {read:?}");
    }
    for deep in [b"\x9f".repeat(1_000_000), b"\xa1\x61a".repeat(300_000), b"\xc1".repeat(1_000_000)] {
        for name in ["x", "document"] {
            assert!(from_slice::<Sample>(&member(name, &deep)).is_err());
        }
    }
    assert!(from_slice::<Sample>(&b"\xa1\x65inner".repeat(300_000)).is_err());
}
