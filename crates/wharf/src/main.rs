//! The `wharf` binary.

fn main() {
    let hello: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));
    assert!(!hello.is_empty());
}
