//! What the machine has: memory, the limits of control groups, and what processes use. All of it is read from Linux's
//! own files, each up to a bound.

mod memory;
mod usage;

pub use memory::{Memory, OomKills};
pub use usage::{child_processes, lazily_freed_bytes, live_bytes, resident_bytes};
