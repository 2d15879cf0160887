//! Fuzz targets: code that reads untrusted bytes, with what must hold for every input.
//!
//! ```text
//!   ./x fuzz ──► src/bin/NAME.rs ──► libFuzzer ──inputs──┐
//!   ./x test ──► tests/seeds.rs ──────────seeds──────────┴──► FuzzTarget::run ──► the code that ships
//! ```
//!
//! A target's inputs start from seeds, which its own code makes from real encodings. libFuzzer changes them and keeps
//! those that reach new code. Tests run the same targets on the seeds, and on a few changes of each seed, so that a
//! target always compiles and holds.
//!
//! Besides its own properties, every target bounds the memory that an input may take. The allocator counts what is
//! requested, so that a large reservation is found even if it is never used.
//!
//! This crate does not use SP1. The targets that need it are in the crate `sp1d-fuzz-engine`.

mod harness;
mod targets;

pub use harness::{FuzzMemory, FuzzTarget, check_seeds, run, start};
pub use targets::{CACHE_FILE, CHUNKS, FORM, HOSTED, PREAMBLE, SESSION, WORKER_LIST};
