//! The notation in which `api` names the shapes of a service: one line per member, one macro call per shape.

/// Defines a structure with its schema, codec and a `Debug` that hides sensitive members.
///
/// ```ignore
/// structure! { Tag { key: req String = Member::new("key", &TAG_KEY, true), value: opt String = Member::new("value", &STRING, false) } }
/// ```
#[macro_export]
macro_rules! structure {
    ($name:ident { $($field:ident : $need:ident $ty:ty = $member:expr),* $(,)? } $(as $($extra:tt)+)?) => {
        #[derive(Clone, Default, PartialEq)]
        pub struct $name { $(pub $field: $crate::slot!($need $ty)),* }

        /// The structure as a type of its own. A static beside the struct of the same name (types and values have
        /// separate namespaces), because structures may refer to each other in circles, which constants cannot.
        #[allow(non_upper_case_globals)]
        pub static $name: $crate::Type = {
            static MEMBERS: &[$crate::Member] = &[$($member),*];
            static SCHEMA: $crate::Structure = $crate::schema!($name, MEMBERS $(, $($extra)+)?);
            $crate::Type::new($crate::Kind::Structure(&SCHEMA))
        };

        impl $name {
            /// The members' names, constraints and traits.
            pub const SCHEMA: &'static $crate::Structure = $name.structure();
        }

        impl $crate::Decode for $name {
            #[allow(unused_mut, unused_variables, unused_assignments, non_camel_case_types, dead_code, clippy::needless_late_init)]
            fn read(reader: &mut dyn $crate::Reader, _: &'static $crate::Type) -> Result<Self, $crate::Malformed> {
                #[repr(usize)]
                enum Index { $($field,)* End }
                let schema = Self::SCHEMA;
                $(let mut $field: Option<$ty> = None;)*
                reader.begin_structure(schema)?;
                while let Some(index) = reader.next_member(schema)? {
                    let member = &schema.members[index];
                    reader.notes().enter(member);
                    $(if index == Index::$field as usize { $field = Some($crate::Decode::read(reader, member.ty)?); } else)* {}
                    reader.notes().leave();
                }
                Ok(Self { $($field: $crate::take!($need $field, reader, schema.members[Index::$field as usize])),* })
            }
        }

        impl $crate::Encode for $name {
            #[allow(unused_variables, non_camel_case_types, dead_code)]
            fn write(&self, writer: &mut dyn $crate::Writer, _: &'static $crate::Type) {
                #[repr(usize)]
                enum Index { $($field,)* End }
                let schema = Self::SCHEMA;
                writer.begin_structure(schema);
                $($crate::put!($need self.$field, writer, &schema.members[Index::$field as usize]);)*
                writer.end_structure();
            }
        }

        impl std::fmt::Debug for $name {
            #[allow(unused_mut, unused_variables, non_camel_case_types, dead_code)]
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                #[repr(usize)]
                enum Index { $($field,)* End }
                let mut out = f.debug_struct(stringify!($name));
                $($crate::show!($need self.$field, out, Self::SCHEMA.members[Index::$field as usize]);)*
                out.finish()
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! schema {
    ($name:ident, $members:ident) => {
        $crate::Structure { name: stringify!($name), members: $members, union: false, error: None }
    };
    ($name:ident, $members:ident, union) => {
        $crate::Structure { name: stringify!($name), members: $members, union: true, error: None }
    };
    ($name:ident, $members:ident, $error:expr) => {
        $crate::Structure { name: stringify!($name), members: $members, union: false, error: Some($error) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! slot {
    (req $ty:ty) => { $ty };
    (opt $ty:ty) => { Option<$ty> };
}

#[doc(hidden)]
#[macro_export]
macro_rules! take {
    (opt $field:ident, $reader:ident, $member:expr) => {
        $field
    };
    (req $field:ident, $reader:ident, $member:expr) => {
        match $field {
            Some(value) => value,
            None => {
                $reader.notes().missing(&$member);
                Default::default()
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! put {
    (opt $value:expr, $writer:ident, $member:expr) => {
        if let Some(value) = &$value {
            let member: &'static $crate::Member = $member;
            $writer.member(member);
            $crate::Encode::write(value, $writer, member.ty);
        }
    };
    (req $value:expr, $writer:ident, $member:expr) => {{
        let member: &'static $crate::Member = $member;
        $writer.member(member);
        $crate::Encode::write(&$value, $writer, member.ty);
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! show {
    (opt $value:expr, $out:ident, $member:expr) => {
        if let Some(value) = &$value {
            if $member.ty.sensitive {
                $out.field($member.name, &"***");
            } else {
                $out.field($member.name, value);
            }
        }
    };
    (req $value:expr, $out:ident, $member:expr) => {
        if $member.ty.sensitive {
            $out.field($member.name, &"***");
        } else {
            $out.field($member.name, &$value);
        }
    };
}

/// Defines an enumeration; a value that the model does not know is a violation when read.
#[macro_export]
macro_rules! enumeration {
    ($name:ident { $first:ident = $first_text:literal $(, $variant:ident = $text:literal)* $(,)? }) => {
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { #[default] $first $(, $variant)* }

        impl $name {
            /// Every value, in the model's order.
            pub const VALUES: &'static [&'static str] = &[$first_text $(, $text)*];
            /// The enumeration as a type, for lists and members.
            pub const TYPE: &'static $crate::Type = {
                static TYPE: $crate::Type = $crate::Type::new($crate::Kind::Enum($name::VALUES));
                &TYPE
            };

            /// The value as AWS writes it.
            pub const fn as_str(self) -> &'static str {
                match self { Self::$first => $first_text $(, Self::$variant => $text)* }
            }

            /// The value of that name, if there is one.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $first_text => Some(Self::$first), $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::Decode for $name {
            fn read(reader: &mut dyn $crate::Reader, _: &'static $crate::Type) -> Result<Self, $crate::Malformed> {
                let text = $crate::decode::read_enum(reader, Self::TYPE)?;
                Ok(Self::parse(&text).unwrap_or_default())
            }
        }

        impl $crate::Encode for $name {
            fn write(&self, writer: &mut dyn $crate::Writer, _: &'static $crate::Type) {
                writer.string(self.as_str());
            }
        }
    };
}

/// Defines `Error`, the sum of a service's exceptions, and a constructor from a message for each.
#[macro_export]
macro_rules! exceptions {
    ($($name:ident $(($message:ident))?),* $(,)?) => {
        /// Every exception of the service's model.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Error { $($name($name)),* }

        $($(impl $name {
            /// The exception with AWS's text and no further members.
            #[allow(clippy::needless_update)]
            pub fn new(message: impl Into<String>) -> Self {
                Self { $message: Some(message.into()), ..Default::default() }
            }
        })?)*

        $(impl From<$name> for Error {
            fn from(exception: $name) -> Self {
                Self::$name(exception)
            }
        })*

        impl Error {
            /// The exception of that shape name with a message, if the service has it.
            #[allow(clippy::needless_update)]
            pub fn named(name: &str, message: &str) -> Option<Self> {
                $($(if name == stringify!($name) {
                    return Some(Self::$name($name { $message: Some(message.to_owned()), ..Default::default() }));
                })?)*
                None
            }
        }

        impl $crate::Exception for Error {
            fn schema(&self) -> &'static $crate::Structure {
                match self { $(Self::$name(_) => $name::SCHEMA),* }
            }

            fn message(&self) -> Option<&str> {
                match self { $(Self::$name(_exception) => { $(return _exception.$message.as_deref();)? #[allow(unreachable_code)] None })* }
            }
        }

        impl $crate::Encode for Error {
            fn write(&self, writer: &mut dyn $crate::Writer, ty: &'static $crate::Type) {
                match self { $(Self::$name(exception) => $crate::Encode::write(exception, writer, ty)),* }
            }
        }

        impl std::fmt::Display for Error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let code = $crate::Exception::schema(self).name;
                match $crate::Exception::message(self) {
                    Some(message) => write!(f, "{code}: {message}"),
                    None => f.write_str(code),
                }
            }
        }

        impl std::error::Error for Error {}
    };
}

/// Defines `SERVICE`, `Request` and `Response` for a service's operations, which must come sorted by name.
#[macro_export]
macro_rules! operations {
    ($service:expr; $($op:ident ($input:ty) -> $output:ty = $schema:expr),* $(,)?) => {
        /// The service's names, protocols and operations.
        pub static SERVICE: $crate::Service = {
            static OPERATIONS: &[$crate::Operation] = &[$($schema),*];
            let mut service = $service;
            service.operations = OPERATIONS;
            service
        };

        /// A decoded request of any operation.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request { $($op(Box<$input>)),* }

        /// The reply to any operation.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Response { $($op($output)),* }

        impl Request {
            /// Reads the input of the operation at `index` of [`SERVICE`]'s operations.
            ///
            /// Broken constraints are left in the reader's notes: the caller refuses the request if there are any.
            #[allow(non_camel_case_types)]
            pub fn read(index: usize, reader: &mut dyn $crate::Reader) -> Result<Self, $crate::Malformed> {
                #[repr(usize)]
                enum Index { $($op),* }
                $(if index == Index::$op as usize {
                    return Ok(Self::$op(Box::new($crate::Decode::read(reader, &$crate::shape::DOCUMENT)?)));
                })*
                Err($crate::Malformed(format!("there is no operation number {index}")))
            }

            /// The operation's name.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$op(_) => stringify!($op)),* }
            }
        }

        impl $crate::Encode for Request {
            fn write(&self, writer: &mut dyn $crate::Writer, ty: &'static $crate::Type) {
                match self { $(Self::$op(request) => $crate::Encode::write(&**request, writer, ty)),* }
            }
        }

        impl Response {
            /// The operation's name.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$op(_) => stringify!($op)),* }
            }
        }

        impl $crate::Encode for Response {
            fn write(&self, writer: &mut dyn $crate::Writer, ty: &'static $crate::Type) {
                match self { $(Self::$op(response) => $crate::Encode::write(response, writer, ty)),* }
            }
        }
    };
}
