//! Reads the machine's memory, the limits of control groups, and the memory use of processes. The sources are files of
//! the Linux kernel.

mod cgroup;
mod memory;
mod read;
mod usage;

pub use memory::{Memory, OomKills};
pub use usage::{child_processes, lazily_freed_bytes, live_bytes, resident_bytes};
