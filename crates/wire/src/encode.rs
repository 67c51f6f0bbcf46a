//! Writing shapes: the interface that codecs implement, and the types of the model.

use crate::shape::{Kind, Member, Structure, Type};
use crate::{Blob, Document};
use std::collections::BTreeMap;
use stdx::Timestamp;

/// Takes one value after the other into a reply. One implementation per protocol.
pub trait Writer {
    fn begin_structure(&mut self, shape: &'static Structure);
    /// The next value is this member's.
    fn member(&mut self, member: &'static Member);
    fn end_structure(&mut self);

    fn begin_list(&mut self, ty: &'static Type, len: usize);
    /// The next value is an item.
    fn item(&mut self);
    fn end_list(&mut self);

    fn begin_map(&mut self, ty: &'static Type, len: usize);
    /// The next value belongs to this key.
    fn key(&mut self, key: &str);
    fn end_map(&mut self);

    fn string(&mut self, value: &str);
    fn boolean(&mut self, value: bool);
    fn integer(&mut self, value: i32);
    fn long(&mut self, value: i64);
    fn double(&mut self, value: f64);
    fn blob(&mut self, value: &[u8]);
    fn timestamp(&mut self, value: Timestamp, ty: &'static Type);
    fn document(&mut self, value: &Document);
}

/// A value that can be written into a reply.
pub trait Encode {
    fn write(&self, writer: &mut dyn Writer, ty: &'static Type);
}

impl Encode for String {
    fn write(&self, writer: &mut dyn Writer, _: &'static Type) {
        writer.string(self);
    }
}

impl Encode for bool {
    fn write(&self, writer: &mut dyn Writer, _: &'static Type) {
        writer.boolean(*self);
    }
}

impl Encode for i32 {
    fn write(&self, writer: &mut dyn Writer, _: &'static Type) {
        writer.integer(*self);
    }
}

impl Encode for i64 {
    fn write(&self, writer: &mut dyn Writer, _: &'static Type) {
        writer.long(*self);
    }
}

impl Encode for f64 {
    fn write(&self, writer: &mut dyn Writer, _: &'static Type) {
        writer.double(*self);
    }
}

impl Encode for Blob {
    fn write(&self, writer: &mut dyn Writer, _: &'static Type) {
        writer.blob(&self.0);
    }
}

impl Encode for Timestamp {
    fn write(&self, writer: &mut dyn Writer, ty: &'static Type) {
        writer.timestamp(*self, ty);
    }
}

impl Encode for Document {
    fn write(&self, writer: &mut dyn Writer, _: &'static Type) {
        writer.document(self);
    }
}

impl<T: Encode> Encode for Box<T> {
    fn write(&self, writer: &mut dyn Writer, ty: &'static Type) {
        (**self).write(writer, ty);
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn write(&self, writer: &mut dyn Writer, ty: &'static Type) {
        let Kind::List { item, .. } = &ty.kind else { return };
        writer.begin_list(ty, self.len());
        for value in self {
            writer.item();
            value.write(writer, item);
        }
        writer.end_list();
    }
}

impl<T: Encode> Encode for BTreeMap<String, T> {
    fn write(&self, writer: &mut dyn Writer, ty: &'static Type) {
        let Kind::Map { value, .. } = &ty.kind else { return };
        writer.begin_map(ty, self.len());
        for (key, entry) in self {
            writer.key(key);
            entry.write(writer, value);
        }
        writer.end_map();
    }
}
