//! What a run shows: which situations occurred, and a digest of its commands.
//!
//! This folder only watches. It judges nothing and changes nothing.

mod coverage;
mod digest;

pub use coverage::MARKS;
pub(crate) use coverage::{Coverage, DispatchStep};
pub(crate) use digest::RunDigest;
