//! Container drivers behind one trait.
