//! Drivers against the real kernel. The tests of the builtin driver need root and `busybox-static`.

mod builtin;
mod busybox;
mod faults;
mod machine;
mod registry;
mod settings;
