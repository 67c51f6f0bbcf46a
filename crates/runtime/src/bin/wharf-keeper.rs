//! The keeper alone, for tests and benchmarks of this crate; `wharf` enters it under the same name.

fn main() {
    runtime::enter_if_asked();
}
