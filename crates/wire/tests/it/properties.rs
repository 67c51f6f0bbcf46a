//! Round trips of arbitrary values, and parsers that no input makes panic.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use wire::query::{self, Dialect};
use wire::shape::{self, Kind, TimestampFormat, Type};
use wire::sigv4::{Parts, Signed};
use wire::{Blob, DecodeError, Document, Encode, Member, Timestamp, cbor, json, structure};

static TEXTS: Type = Type::list(&shape::STRING);
static NESTED: Type = Type::list(&Everything);
static MAP: Type = Type::map(&shape::STRING, &Everything);
static ISO: Type = Type::new(Kind::Timestamp(Some(TimestampFormat::Iso8601)));

structure! { Everything {
    text: opt String = Member::new("text", &shape::STRING, false),
    flag: opt bool = Member::new("flag", &shape::BOOLEAN, false),
    integer: opt i32 = Member::new("integer", &shape::INTEGER, false),
    long: opt i64 = Member::new("long", &shape::LONG, false),
    double: opt f64 = Member::new("double", &shape::DOUBLE, false),
    blob: opt Blob = Member::new("blob", &shape::BLOB, false),
    at: opt Timestamp = Member::new("at", &shape::TIMESTAMP, false),
    iso: opt Timestamp = Member::new("iso", &ISO, false),
    texts: opt Vec<String> = Member::new("texts", &TEXTS, false),
    nested: opt Vec<Everything> = Member::new("nested", &NESTED, false),
    map: opt BTreeMap<String, Everything> = Member::new("map", &MAP, false),
    document: opt Document = Member::new("document", &shape::DOCUMENT, false),
} }

/// Any time of the first ten thousand years, to the millisecond.
fn moment() -> impl Strategy<Value = Option<Timestamp>> {
    option::of((-62_135_596_800_000_i64..253_402_300_800_000).prop_map(Timestamp))
}

fn document() -> impl Strategy<Value = Document> {
    let leaf = prop_oneof![
        Just(Document::Null),
        any::<bool>().prop_map(Document::from),
        any::<i64>().prop_map(Document::from),
        ".{0,8}".prop_map(Document::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Document::from),
            btree_map(".{0,4}", inner, 0..4)
                .prop_map(|entries| Document::Object(entries.into_iter().collect())),
        ]
    })
}

fn leaf() -> impl Strategy<Value = Everything> {
    let text = option::of("\\PC{0,12}|[\\x00-\\x1f\"\\\\<>&]{0,4}");
    let numbers = (option::of(any::<bool>()), option::of(any::<i32>()), option::of(any::<i64>()));
    let double =
        option::of(prop_oneof![any::<f64>().prop_filter("finite", |d| d.is_finite()), Just(f64::INFINITY)]);
    let rest = (option::of(vec(any::<u8>(), 0..16)), moment(), moment(), option::of(vec(".{0,6}", 0..4)));
    (text, numbers, double, rest, option::of(document())).prop_map(
        |(text, numbers, double, rest, document)| {
            let (flag, integer, long) = numbers;
            let (blob, at, iso, texts) = rest;
            let (blob, document) = (blob.map(Blob), document.filter(|document| !document.is_null()));
            Everything {
                text,
                flag,
                integer,
                long,
                double,
                blob,
                at,
                iso,
                texts,
                nested: None,
                map: None,
                document,
            }
        },
    )
}

fn everything() -> impl Strategy<Value = Everything> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        let nested = option::of(vec(inner.clone(), 0..3));
        let map = option::of(btree_map("[^\\x00]{0,6}", inner, 0..3));
        (leaf(), nested, map).prop_map(|(leaf, nested, map)| Everything { nested, map, ..leaf })
    })
}

/// The form body of a value, as a client writes it; empty lists, maps and structures are not expressed.
fn form(out: &mut String, path: &str, value: &Everything) {
    let mut pair = |name: &str, value: &str| {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        out.push_str(if out.is_empty() { "" } else { "&" });
        for byte in path.bytes().chain([b'=']).chain(value.bytes()) {
            match byte {
                b'=' | b'.' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
                byte => write!(out, "%{byte:02X}").unwrap(),
            }
        }
    };
    let equals_free = |text: &String| !text.contains('=');
    if let Some(text) = value.text.as_ref().filter(|text| equals_free(text)) {
        pair("text", text);
    }
    for (n, text) in value.texts.iter().flatten().enumerate() {
        pair(&format!("texts.member.{}", n + 1), &text.replace('=', "-"));
    }
    if let Some(integer) = value.integer {
        pair("integer", &integer.to_string());
    }
    for (n, inner) in value.nested.iter().flatten().enumerate() {
        let below = if path.is_empty() { String::new() } else { format!("{path}.") };
        form(out, &format!("{below}nested.member.{}", n + 1), inner);
    }
}

/// What of a value [`form`] expresses.
fn expressed(value: &Everything) -> Everything {
    let texts: Vec<_> = value.texts.iter().flatten().map(|text| text.replace('=', "-")).collect();
    let nested: Vec<_> = value.nested.iter().flatten().map(expressed).collect();
    let nested: Vec<_> = nested.into_iter().filter(|inner| *inner != Everything::default()).collect();
    Everything {
        text: value.text.clone().filter(|text| !text.contains('=')),
        integer: value.integer,
        texts: (!texts.is_empty()).then_some(texts),
        nested: (!nested.is_empty()).then_some(nested),
        ..Everything::default()
    }
}

/// serde_json reads some floats a digit off unless told otherwise.
fn without_doubles(mut value: Everything) -> Everything {
    value.double = None;
    value.nested = value.nested.map(|nested| nested.into_iter().map(without_doubles).collect());
    value.map =
        value.map.map(|map| map.into_iter().map(|(key, entry)| (key, without_doubles(entry))).collect());
    value
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_round_trips(value in everything()) {
        let text = json::to_vec(&value);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok(), "another parser refuses it");
        prop_assert_eq!(json::from_slice::<Everything>(&text), Ok(value));
    }

    #[test]
    fn json_of_another_writer_is_read(value in everything().prop_map(without_doubles)) {
        let text = json::to_vec(&value);
        let other = serde_json::to_string_pretty(&serde_json::from_slice::<serde_json::Value>(&text).unwrap()).unwrap();
        prop_assert_eq!(json::from_slice::<Everything>(other.as_bytes()), Ok(value));
    }

    #[test]
    fn cbor_round_trips(value in everything()) {
        prop_assert_eq!(cbor::from_slice::<Everything>(&cbor::to_vec(&value)), Ok(value));
    }

    #[test]
    fn forms_are_read(value in everything()) {
        let mut body = String::new();
        form(&mut body, "", &value);
        prop_assert_eq!(query::from_slice::<Everything>(body.as_bytes(), Dialect::Query), Ok(expressed(&value)));
    }

    #[test]
    fn xml_is_well_formed(value in everything()) {
        let mut writer = wire::xml::XmlWriter::new();
        value.write(&mut writer, &shape::DOCUMENT);
        crate::xml_tree::parse(&format!("<root>{}</root>", writer.finish()));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..200), text in "[{}\\[\\]\",:a-z0-9.eE+\\-\\\\u&=% ]{0,60}") {
        for body in [bytes.as_slice(), text.as_bytes()] {
            read_all(body);
        }
    }

    /// Bytes close to valid ones get further into a parser than arbitrary ones.
    #[test]
    fn no_damage_makes_a_reader_panic(value in everything(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut form_body = String::new();
        form(&mut form_body, "", &value);
        for mut body in [json::to_vec(&value), cbor::to_vec(&value), form_body.into_bytes()] {
            if body.is_empty() {
                continue;
            }
            let at = at.index(body.len());
            body[at] = byte;
            read_all(&body);
            read_all(&body[..at]);
        }
    }

    #[test]
    fn no_request_makes_verification_panic(
        method in "[A-Z]{1,5}",
        path in "[/.%a-zA-Z0-9é]{0,20}",
        query in "[&=%+a-z0-9X\\-]{0,40}|X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=[a-z/]{0,20}&X-Amz-Signature=[0-9a-gé]{0,6}&X-Amz-SignedHeaders=[a-z;]{0,9}&X-Amz-Date=[0-9TZé]{0,17}&X-Amz-Expires=[0-9\\-]{0,4}",
        authorization in "AWS4-HMAC-SHA256 Credential=[a-z/0-9]{0,9}(/20260101/r/s/aws4_request)?, SignedHeaders=[a-z;]{0,9}, Signature=[0-9a-g]{0,9}|\\PC{0,40}",
        date in "[0-9]{8}T[0-9]{6}Z|20260101T[0-9:Z]{0,9}|\\PC{0,16}",
        now in any::<i64>(),
    ) {
        let mut headers = http::HeaderMap::new();
        for (name, value) in [("authorization", authorization), ("x-amz-date", date), ("host", "h".to_owned())] {
            if let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(name, value);
            }
        }
        let with = Parts { method: &method, path: &path, query: &query, headers: &headers };
        let empty = http::HeaderMap::new();
        let without = Parts { headers: &empty, ..with };
        for parts in [with, without] {
            if let Ok(Some(signed)) = Signed::parse(&parts) {
                let verified = signed.verify(&parts, b"body", "secret", Timestamp(now));
                prop_assert!(verified.is_err(), "nobody signed it");
            }
        }
    }
}

fn read_all(body: &[u8]) {
    let results = [
        json::from_slice::<Everything>(body),
        cbor::from_slice::<Everything>(body),
        query::from_slice::<Everything>(body, Dialect::Query),
        query::from_slice::<Everything>(body, Dialect::Ec2),
    ];
    // What was accepted can be written again; there are no constraints to break.
    for result in results {
        match result {
            Ok(value) => drop((json::to_vec(&value), cbor::to_vec(&value))),
            Err(error) => assert!(matches!(error, DecodeError::Malformed(_)), "{error:?}"),
        }
    }
}
