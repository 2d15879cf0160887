//! Names of the worker list that stand for several workers.
//!
//! - `name_follower`: looks up a name of the list again and again, and connects to its workers.
//! - `named_workers`: decides which workers a name stands for.

pub(crate) mod name_follower;
pub(crate) mod named_workers;
