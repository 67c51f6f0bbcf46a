//! Shape tables built at run time out of a botocore model.

use crate::dynamic::Value;
use serde_json::Value as Json;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use wire::shape::{ErrorTraits, Kind, Member, Structure, TimestampFormat, Type};
use wire::{Document, Timestamp};

/// How deep recursive shapes are unrolled: tables of constants may be circular, leaked ones cannot.
const DEPTH_MAX: usize = 12;

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn text(json: &Json) -> &'static str {
    leak(json.as_str().unwrap_or_default().to_owned())
}

/// The shapes of one suite.
pub struct Shapes<'a> {
    shapes: &'a Json,
    built: RefCell<HashMap<(String, usize), &'static Type>>,
}

impl<'a> Shapes<'a> {
    pub fn new(shapes: &'a Json) -> Self {
        Self { shapes, built: RefCell::default() }
    }

    /// The type of that name; an empty structure if it is absent, as for operations without input.
    pub fn ty(&self, name: Option<&str>) -> &'static Type {
        match name {
            Some(name) => self.build(name, 0),
            None => leak(Type::new(Kind::Structure(leak(Structure {
                name: "Unit",
                members: &[],
                union: false,
                error: None,
            })))),
        }
    }

    fn build(&self, name: &str, depth: usize) -> &'static Type {
        let key = (name.to_owned(), depth);
        let known = self.built.borrow().get(&key).copied();
        known.unwrap_or_else(|| {
            let built = leak(Type::new(self.kind(name, depth)));
            self.built.borrow_mut().insert(key, built);
            built
        })
    }

    fn kind(&self, name: &str, depth: usize) -> Kind {
        let shape = &self.shapes[name];
        let flattened = shape["flattened"] == true;
        let named = |part: &str, default| match &shape[part]["locationName"] {
            Json::Null => default,
            name => text(name),
        };
        let part = |part: &str| self.build(shape[part]["shape"].as_str().unwrap(), depth + 1);
        match shape["type"].as_str().unwrap() {
            "string" | "character" => Kind::String,
            "boolean" => Kind::Boolean,
            "integer" | "byte" | "short" => Kind::Integer,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "blob" => Kind::Blob,
            "timestamp" => Kind::Timestamp(match shape["timestampFormat"].as_str() {
                Some("unixTimestamp") => Some(TimestampFormat::UnixTimestamp),
                Some("iso8601") => Some(TimestampFormat::Iso8601),
                Some("rfc822") => Some(TimestampFormat::Rfc822),
                _ => None,
            }),
            "structure" if shape["document"] == true => Kind::Document,
            "list" => Kind::List { item: part("member"), item_name: named("member", "member"), flattened },
            "map" => Kind::Map {
                key: part("key"),
                value: part("value"),
                key_name: named("key", "key"),
                value_name: named("value", "value"),
                flattened,
            },
            "structure" => Kind::Structure(self.structure(name, shape, depth)),
            other => panic!("{name}: {other}"),
        }
    }

    fn structure(&self, name: &str, shape: &Json, depth: usize) -> &'static Structure {
        let none = serde_json::Map::new();
        let members = shape["members"].as_object().unwrap_or(&none);
        let members: Vec<Member> = if depth > DEPTH_MAX {
            Vec::new()
        } else {
            members.iter().map(|(name, member)| self.member(name, member, depth)).collect()
        };
        let error = &shape["error"];
        let name = leak(name.to_owned());
        leak(Structure {
            name,
            members: leak(members),
            union: shape["union"] == true,
            error: (shape["exception"] == true).then(|| ErrorTraits {
                code: if error["code"].is_string() { text(&error["code"]) } else { name },
                status: match error["httpStatusCode"].as_u64() {
                    Some(status) => u16::try_from(status).unwrap(),
                    None if shape["fault"] == true => 500,
                    None => 400,
                },
                fault: shape["fault"] == true,
            }),
        })
    }

    fn member(&self, name: &str, member: &Json, depth: usize) -> Member {
        let name = leak(name.to_owned());
        let ty = self.build(member["shape"].as_str().unwrap(), depth + 1);
        let mut built = Member::new(name, ty, false);
        if let Json::String(_) = member["locationName"] {
            built = built.wire(text(&member["locationName"]));
        }
        if let Json::String(_) = member["queryName"] {
            built = built.query_name(text(&member["queryName"]));
        }
        if member["flattened"] == true {
            built = built.flattened();
        }
        built
    }
}

/// A vector's parameters or result as a value of a type.
pub fn value(json: &Json, ty: &'static Type) -> Value {
    let number = || match json {
        Json::String(word) => match word.as_str() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            other => panic!("{other}"),
        },
        _ => json.as_f64().unwrap(),
    };
    match &ty.kind {
        Kind::String | Kind::Enum(_) => Value::String(json.as_str().unwrap().to_owned()),
        Kind::Boolean => Value::Boolean(json.as_bool().unwrap()),
        Kind::Integer => Value::Integer(i32::try_from(json.as_i64().unwrap()).unwrap()),
        Kind::Long => Value::Long(json.as_i64().unwrap()),
        Kind::Float | Kind::Double => Value::Double(number()),
        Kind::Blob => Value::Blob(json.as_str().unwrap().as_bytes().to_vec()),
        #[expect(clippy::cast_possible_truncation, reason = "the vectors' dates are not that far away")]
        Kind::Timestamp(_) => Value::Timestamp(Timestamp((number() * 1000.0).round() as i64)),
        Kind::Document => Value::Document(Document::clone(json)),
        Kind::List { item, .. } => {
            Value::List(json.as_array().unwrap().iter().map(|json| value(json, item)).collect())
        }
        Kind::Map { value: ty, .. } => {
            let entries = json.as_object().unwrap().iter().map(|(key, json)| (key.clone(), value(json, ty)));
            Value::Map(entries.collect())
        }
        Kind::Structure(shape) => {
            let mut members = BTreeMap::new();
            for (name, json) in json.as_object().unwrap().iter().filter(|(_, json)| !json.is_null()) {
                let index = shape.members.iter().position(|member| member.name == name);
                let index = index.unwrap_or_else(|| panic!("{} has no member {name}", shape.name));
                members.insert(index, value(json, shape.members[index].ty));
            }
            Value::Structure(members)
        }
    }
}
