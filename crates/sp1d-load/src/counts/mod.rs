//! How many instructions hot paths take. Unlike times, the counts of one compiler hardly differ between runs and
//! machines, so a small regression shows. It does not know where the recorded counts are.
//!
//! - `counted_path`: the paths, and what a repetition of each one does.
//! - `callgrind`: counts the instructions of a path in a process of its own.
//! - `record`: recorded counts, and how measured counts differ from them.

mod callgrind;
mod counted_path;
mod record;

pub(crate) use callgrind::{Callgrind, rustc_version};
pub(crate) use counted_path::CountedPath;
pub(crate) use record::CountsRecord;
