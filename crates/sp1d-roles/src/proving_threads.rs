//! The proving threads of an orchestrator's process.

use crate::{
    config::Config,
    worker::{LOCAL_NICENESS, cores, local_threads},
};
use sp1d_engine::start_thread_pool;

/// Creates the proving threads of this process for an orchestrator with `config`. Only the first call in a process has
/// an effect. Call this before any SP1 code runs: a panic in the thread pool that SP1 would create ends the process.
pub fn start_proving_threads(config: &Config) {
    let started = if config.list.has_local() {
        start_thread_pool(config.local_threads.unwrap_or_else(local_threads), LOCAL_NICENESS)
    } else {
        start_thread_pool(cores(), 0)
    };
    if started.is_err() {
        tracing::debug!("proving threads exist already");
    }
}
