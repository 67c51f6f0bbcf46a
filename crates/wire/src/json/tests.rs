//! JSON bodies, both ways.

use super::*;
use crate::shape::{self, Pattern, Type};
use crate::{Blob, Member, Timestamp, Violation, enumeration, structure};
use std::collections::BTreeMap;

static NAME_PATTERN: Pattern = Pattern::new("[a-z]+");
static NAME: Type = Type::new(crate::Kind::String).min(1).max(5).pattern(&NAME_PATTERN);
static COUNT: Type = Type::new(crate::Kind::Integer).min(1).max(10);
static NAMES: Type = Type::list(&NAME);
static LABELS: Type = Type::map(&shape::STRING, &shape::STRING);
static NESTED: Type = Type::list(&Inner);

enumeration! { Colour { Red = "RED", Blue = "BLUE" } }
structure! { Inner {
    flag: opt bool = Member::new("flag", &shape::BOOLEAN, false),
    inner: opt Box<Inner> = Member::new("inner", &Inner, false),
} }
structure! { Outer {
    name: req String = Member::new("name", &NAME, true),
    count: opt i32 = Member::new("count", &COUNT, false),
    size: opt i64 = Member::new("size", &shape::LONG, false),
    ratio: opt f64 = Member::new("ratio", &shape::DOUBLE, false),
    names: opt Vec<String> = Member::new("names", &NAMES, false),
    labels: opt BTreeMap<String, String> = Member::new("labels", &LABELS, false),
    nested: opt Vec<Inner> = Member::new("nested", &NESTED, false),
    colour: opt Colour = Member::new("colour", Colour::TYPE, false),
    at: opt Timestamp = Member::new("at", &shape::TIMESTAMP, false),
    data: opt Blob = Member::new("data", &shape::BLOB, false),
    document: opt crate::Document = Member::new("document", &shape::DOCUMENT, false),
} }

fn full() -> Outer {
    Outer {
        name: "web".to_owned(),
        count: Some(3),
        size: Some(i64::MIN),
        ratio: Some(0.1),
        names: Some(vec!["a".to_owned(), "b".to_owned()]),
        labels: Some(BTreeMap::from([("k\"\u{1}é".to_owned(), "v\\\n😀".to_owned())])),
        nested: Some(vec![Inner { flag: Some(true), inner: Some(Box::default()) }, Inner::default()]),
        colour: Some(Colour::Blue),
        at: Some(Timestamp(1_712_345_678_123)),
        data: Some(Blob(vec![0, 255])),
        document: Some(serde_json::json!({"a": [1, null, {"b": "c"}]})),
    }
}

#[test]
fn what_is_written_is_read_back() {
    let text = to_vec(&full());
    assert_eq!(
        String::from_utf8(text.clone()).unwrap(),
        concat!(
            r#"{"name":"web","count":3,"size":-9223372036854775808,"ratio":0.1,"names":["a","b"],"#,
            r#""labels":{"k\"\u0001é":"v\\\n😀"},"nested":[{"flag":true,"inner":{}},{}],"colour":"BLUE","#,
            r#""at":1712345678.123,"data":"AP8=","document":{"a":[1,null,{"b":"c"}]}}"#
        )
    );
    assert_eq!(from_slice::<Outer>(&text), Ok(full()));
}

#[test]
fn white_space_escapes_nulls_and_unknown_members() {
    let text = concat!(
        " {\t\"name\" : \"\\u0077eb\", \"ratio\":null,\r\n \"x\":{\"y\":[[],{},[1,{\"z\":null}]],\"w\":-1.5e+3},",
        "\"names\":[null,\"b\",null], \"labels\":{\"\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\\"\\\\\":\"\",\"n\":null},\"count\":1e0 } "
    );
    let read = from_slice::<Outer>(text.as_bytes()).unwrap();
    assert_eq!(
        read,
        Outer {
            name: "web".to_owned(),
            names: Some(vec!["b".to_owned()]),
            labels: Some(BTreeMap::from([("😀/\u{8}\u{c}\n\r\t\"\\".to_owned(), String::new())])),
            count: Some(1),
            ..Outer::default()
        }
    );
    assert_eq!(from_slice::<Inner>(b""), Ok(Inner::default()));
}

fn refusal(text: &str) -> String {
    match from_slice::<Outer>(text.as_bytes()) {
        Err(DecodeError::Malformed(Malformed(text))) => text,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn values_of_the_wrong_type_are_refused_in_aws_words() {
    for (text, message) in [
        (r#"{"name":1}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#"{"name":true}"#, "TRUE_VALUE cannot be converted to String"),
        (r#"{"name":{}}"#, "Start of structure or map found where not expected"),
        (r#"{"name":[]}"#, "Start of list found where not expected"),
        (r#"{"count":"1"}"#, "STRING_VALUE cannot be converted to Integer"),
        (r#"{"count":1.5}"#, "NUMBER_VALUE cannot be converted to Integer"),
        (r#"{"count":3000000000}"#, "NUMBER_VALUE cannot be converted to Integer"),
        (r#"{"size":"1"}"#, "STRING_VALUE cannot be converted to Long"),
        (r#"{"ratio":"abc"}"#, "STRING_VALUE cannot be converted to Double"),
        (r#"{"ratio":1e999}"#, "NUMBER_VALUE cannot be converted to Double"),
        (r#"{"at":"2026-11-22T17:20:05Z"}"#, "STRING_VALUE cannot be converted to Timestamp"),
        (r#"{"data":"*"}"#, "STRING_VALUE cannot be converted to Blob"),
        (r#"{"names":"a"}"#, "Expected list or null"),
        (r#"{"labels":[]}"#, "Expected map or null"),
        (r#"{"nested":[1]}"#, "Unexpected field type"),
        (r#"[]"#, "Unexpected field type"),
    ] {
        assert_eq!(refusal(text), message, "{text}");
    }
}

#[test]
fn broken_texts_are_refused() {
    for text in [
        "{",
        "{}}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":1x}",
        "{\"a\":nul}",
        "{\"a\":tru}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\u00g0\"}",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "nul",
        "{\"a\":{]}",
        "{'a':1}",
        "{\"a\":\"\\ud83d\\u0041\"}",
        "{\"a\":+1}",
    ] {
        refusal(text);
    }
    assert!(matches!(from_slice::<Outer>(b"{\"name\":\"\xff\"}"), Err(DecodeError::Malformed(_))));
}

#[test]
fn depth_is_limited() {
    let deep = |levels| format!("{{\"name\":\"a\",\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(from_slice::<Outer>(deep(127).as_bytes()).is_ok());
    assert_eq!(refusal(&deep(128)), "The body nests deeper than 128 levels");
    let document = format!("{{\"document\":{}", "[".repeat(1_000_000));
    assert_eq!(refusal(&document), "The body nests deeper than 128 levels");
    let shapes = "{\"nested\":[".to_owned() + &"{\"inner\":".repeat(1_000_000);
    assert_eq!(refusal(&shapes), "The body nests deeper than 128 levels");
}

#[test]
fn constraints_are_checked_all_at_once() {
    let text = r#"{"count":11,"names":["ok","toolong","B",""],"colour":"GREEN","at":1}"#;
    let Err(DecodeError::Invalid(violations)) = from_slice::<Outer>(text.as_bytes()) else {
        panic!("accepted")
    };
    let sentences: Vec<_> = violations.iter().map(Violation::sentence).collect();
    assert_eq!(
        sentences,
        [
            "Value '11' at 'count' failed to satisfy constraint: Member must have value less than or equal to 10",
            "Value 'toolong' at 'names.2.member' failed to satisfy constraint: Member must have length less than or equal to 5",
            "Value 'B' at 'names.3.member' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+",
            "Value '' at 'names.4.member' failed to satisfy constraint: Member must have length greater than or equal to 1",
            "Value '' at 'names.4.member' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+",
            "Value 'GREEN' at 'colour' failed to satisfy constraint: Member must satisfy enum value set: [RED, BLUE]",
            "Value at 'name' failed to satisfy constraint: Member must not be null",
        ]
    );
    assert!(Violation::summary(&violations).starts_with("7 validation errors detected: Value '11' at"));
    assert_eq!(from_trusted::<Outer>(text.as_bytes()).unwrap().count, Some(11));
}
