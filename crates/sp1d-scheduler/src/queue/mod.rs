//! The waiting tasks: their order, and which workers each of them excludes.
//!
//! This folder knows neither which workers are ready nor which of them are free.

mod exclusion_buckets;
mod exclusions;
mod task_queue;

pub(crate) use exclusion_buckets::ExclusionBuckets;
pub(crate) use exclusions::{Exclusions, with_tolerance};
pub(crate) use task_queue::{Rank, TaskQueue};
