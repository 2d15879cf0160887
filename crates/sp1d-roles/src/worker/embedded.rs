//! The worker inside the process of an orchestrator.

use super::{
    loading::{EngineOptions, cores, start_engine, warn_of_unused_feature},
    session::{default_name, introduction, on_own_thread, spawn},
};
use sp1d_engine::{ProverDevice, start_estimate};
use sp1d_worker::{LocalEndpoint, LocalWorker, engine_state};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The worker inside the process of an orchestrator. Dropping it stops the worker.
pub(crate) struct EmbeddedWorker {
    _stop: DropGuard,
}

/// Starts a worker for the orchestrator of this process. Returns the worker and the endpoint through which the
/// orchestrator connects. The worker proves with a lower priority than the rest of the process. By default it uses one
/// core less than available, so that the executor keeps one. It waits up to 24 hours for memory, because other workers
/// may prove meanwhile. Returns `None`, and logs why, if the system refuses to create a thread: this process does not
/// prove then.
pub(crate) async fn local_worker(threads: Option<usize>) -> Option<(EmbeddedWorker, LocalEndpoint)> {
    warn_of_unused_feature();
    let threads = threads.unwrap_or_else(local_threads);
    let engine = EngineOptions {
        threads: Some(threads),
        parallel_shards: None,
        wait_memory: Duration::from_secs(24 * 60 * 60),
        niceness: LOCAL_NICENESS,
        release_memory: None,
        commands: Vec::new(),
        device: ProverDevice::Processor,
        gpus: Vec::new(),
    };
    let stop = CancellationToken::new();
    let token = stop.clone();
    let (endpoint_sender, endpoint) = oneshot::channel();
    let work = move || {
        let (worker, endpoint) = LocalWorker::new(introduction(default_name("local"), threads, &engine));
        // This cannot fail: `local_worker` waits for the endpoint.
        let _ = endpoint_sender.send(endpoint);
        let (sender, state) = engine_state(start_estimate());
        on_own_thread(async move {
            tokio::spawn(start_engine(sender, engine, token.clone()));
            if let Err(error) = worker.serve(state, token).await {
                tracing::warn!(%error, "local worker failed to load its prover: this process does not prove");
            }
        });
    };
    if let Err(error) = spawn("sp1d-local", work) {
        tracing::error!(%error, "local worker failed to start: this process does not prove");
        return None;
    }
    let endpoint = endpoint.await.expect("the worker's thread sends the endpoint first");
    Some((EmbeddedWorker { _stop: stop.drop_guard() }, endpoint))
}

/// `nice` increment of the local worker's proving threads: they get the CPU time that the executor leaves.
pub(crate) const LOCAL_NICENESS: i32 = 5;

/// Returns the default number of proving threads of the local worker.
pub(crate) fn local_threads() -> usize {
    cores().saturating_sub(1).max(1)
}
