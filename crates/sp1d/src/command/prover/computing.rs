//! The computing threads of a command.

use anyhow::{Context, Result};
use std::thread;

/// Starts the computing threads for a command that uses no worker pool.
pub(super) fn start_computing() -> Result<()> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    sp1d_engine::start_thread_pool(threads, 0).context("cannot start the computing threads")
}
