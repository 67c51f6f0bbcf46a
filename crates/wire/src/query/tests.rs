//! Form bodies of both query dialects.

use super::*;
use crate::{Member, structure};
use std::collections::BTreeMap;

static TEXTS: Type = Type::list(&shape::STRING);
static NESTED: Type = Type::list(&Inner);
static LABELS: Type = Type::map(&shape::STRING, &Inner);

structure! { Inner {
    name: opt String = Member::new("Name", &shape::STRING, false),
    inner: opt Box<Inner> = Member::new("Inner", &Inner, false),
} }
structure! { Outer {
    texts: opt Vec<String> = Member::new("Texts", &TEXTS, false),
    nested: opt Vec<Inner> = Member::new("Nested", &NESTED, false),
    labels: opt BTreeMap<String, Inner> = Member::new("Labels", &LABELS, false),
    count: opt i32 = Member::new("count", &shape::INTEGER, false),
    flag: opt bool = Member::new("flag", &shape::BOOLEAN, false),
} }

fn inner(name: &str) -> Inner {
    Inner { name: Some(name.to_owned()), inner: None }
}

#[test]
fn lists_are_ordered_by_number_whatever_the_order_of_the_pairs() {
    let body = b"Texts.member.10=c&Texts.member.2=b&Texts.member.1=a&Texts-x=1&Nested.member.1.Name=n&Unknown.1=2&count=7";
    let read = from_slice::<Outer>(body, Dialect::Query).unwrap();
    assert_eq!(read.texts, Some(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
    assert_eq!(read.nested, Some(vec![inner("n")]));
    assert_eq!(read.count, Some(7));
    let ec2 =
        from_slice::<Outer>(b"Texts.2=b&Texts.1=a&Count=7&Flag=TRUE&Nested.1.Inner.Name=x", Dialect::Ec2)
            .unwrap();
    assert_eq!(ec2.texts, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((ec2.count, ec2.flag), (Some(7), Some(true)));
    assert_eq!(ec2.nested, Some(vec![Inner { name: None, inner: Some(Box::new(inner("x"))) }]));
}

#[test]
fn maps_hold_structures() {
    let body = b"Labels.entry.1.key=a.b&Labels.entry.1.value.Name=x&Labels.entry.2.key=c&Labels.entry.2.value.Name=y%20z";
    let labels = from_slice::<Outer>(body, Dialect::Query).unwrap().labels.unwrap();
    assert_eq!(labels, BTreeMap::from([("a.b".to_owned(), inner("x")), ("c".to_owned(), inner("y z"))]));
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    for body in
        ["count=x", "count=", "flag=1", "Nested.member.1.Name.1=x", "count.1=2", "Labels.entry.1.value=x"]
    {
        let read = from_slice::<Outer>(body.as_bytes(), Dialect::Query);
        assert!(matches!(read, Err(DecodeError::Malformed(_))), "{body}: {read:?}");
    }
}

#[test]
fn depth_is_limited() {
    let body = "Nested.member.1".to_owned() + &".Inner".repeat(100_000) + ".Name=x";
    let read = from_slice::<Outer>(body.as_bytes(), Dialect::Query);
    assert!(matches!(read, Err(DecodeError::Malformed(_))));
}
