//! A value of any shape, for tests whose shapes are only known at run time.

use std::collections::BTreeMap;
use wire::shape::{Kind, Structure, Type};
use wire::{Blob, Decode, Document, Encode, Exception, Malformed, Reader, Timestamp, Writer};

#[derive(Clone, Debug)]
pub enum Value {
    String(String),
    Boolean(bool),
    Integer(i32),
    Long(i64),
    Double(f64),
    Blob(Vec<u8>),
    Timestamp(Timestamp),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    /// Values by the member's index.
    Structure(BTreeMap<usize, Value>),
    Document(Document),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Long(a), Self::Long(b)) => a == b,
            // Floats of single precision come back with more digits; NaN equals itself here.
            (Self::Double(a), Self::Double(b)) => {
                a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-6 * a.abs()
            }
            (Self::Blob(a), Self::Blob(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Structure(a), Self::Structure(b)) => a == b,
            (Self::Document(a), Self::Document(b)) => a == b,
            _ => false,
        }
    }
}

impl Decode for Value {
    fn read(reader: &mut dyn Reader, ty: &'static Type) -> Result<Self, Malformed> {
        Ok(match &ty.kind {
            Kind::String | Kind::Enum(_) => Self::String(reader.string()?),
            Kind::Boolean => Self::Boolean(reader.boolean()?),
            Kind::Integer => Self::Integer(reader.integer()?),
            Kind::Long => Self::Long(reader.long()?),
            Kind::Float | Kind::Double => Self::Double(reader.double()?),
            Kind::Blob => Self::Blob(reader.blob()?),
            Kind::Timestamp(_) => Self::Timestamp(reader.timestamp(ty)?),
            Kind::Document => Self::Document(reader.document()?),
            Kind::List { .. } => Self::List(Vec::read(reader, ty)?),
            Kind::Map { .. } => Self::Map(BTreeMap::read(reader, ty)?),
            Kind::Structure(shape) => {
                let mut members = BTreeMap::new();
                reader.begin_structure(shape)?;
                while let Some(index) = reader.next_member(shape)? {
                    members.insert(index, Self::read(reader, shape.members[index].ty)?);
                }
                Self::Structure(members)
            }
        })
    }
}

impl Encode for Value {
    fn write(&self, writer: &mut dyn Writer, ty: &'static Type) {
        match self {
            Self::String(value) => writer.string(value),
            Self::Boolean(value) => writer.boolean(*value),
            Self::Integer(value) => writer.integer(*value),
            Self::Long(value) => writer.long(*value),
            Self::Double(value) => writer.double(*value),
            Self::Blob(value) => Blob(value.clone()).write(writer, ty),
            Self::Timestamp(value) => writer.timestamp(*value, ty),
            Self::Document(value) => writer.document(value),
            Self::List(items) => items.write(writer, ty),
            Self::Map(entries) => entries.write(writer, ty),
            Self::Structure(members) => {
                let Kind::Structure(shape) = ty.kind else { panic!("{ty:?} is not a structure") };
                writer.begin_structure(shape);
                for (index, value) in members {
                    let member: &'static wire::Member = &shape.members[*index];
                    writer.member(member);
                    value.write(writer, member.ty);
                }
                writer.end_structure();
            }
        }
    }
}

/// A value with its type, as generated structures know theirs.
#[derive(Debug)]
pub struct Typed {
    pub ty: &'static Type,
    pub value: Value,
}

impl Encode for Typed {
    fn write(&self, writer: &mut dyn Writer, _: &'static Type) {
        self.value.write(writer, self.ty);
    }
}

impl Exception for Typed {
    fn schema(&self) -> &'static Structure {
        self.ty.structure()
    }

    fn message(&self) -> Option<&str> {
        None
    }
}
