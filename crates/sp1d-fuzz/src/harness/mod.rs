//! What all targets have in common: the bound on memory, the seeds on disk, and the process that libFuzzer runs.

mod corpus;
mod process;
mod seeds;
mod target;

pub use process::{run, start};
pub use seeds::check_seeds;
pub use target::{FuzzMemory, FuzzTarget};
