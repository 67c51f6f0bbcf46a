//! Generated types and operation tables, one module per AWS API.
