//! The crates of a repository as modules: which file defines what, and what each module imports. It knows the syntax of
//! Rust, but no types, macros or features.

mod crates;
mod module;

#[cfg(test)]
pub(crate) use crates::tests::roots as roots_of;
pub(crate) use crates::{CrateRoot, crate_roots};
pub(crate) use module::{Binding, Module, PathUse, is_test_only};
