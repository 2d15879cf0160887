//! The `sp1d` binary.
fn main() {}
