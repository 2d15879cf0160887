//! Reads the machine's memory, the limits of control groups, and the memory use of processes. The sources are files of
//! the Linux kernel.

mod memory;
mod usage;

pub use memory::{Memory, OomKills};
pub use usage::{child_processes, lazily_freed_bytes, live_bytes, resident_bytes};
