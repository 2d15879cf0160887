//! The public interface of the orchestrator.

use crate::{
    counts::OrchestratorCounts,
    dispatch::{Dispatcher, scheduler_config},
    pool::{
        first_contact::first_contact, first_outcome::FirstOutcome, join_port::JoinSettings, list::WorkerList,
        membership::Membership, unknown_worker::UnknownWorker,
    },
    proof::{
        proof_runner::ProofRunner,
        run::{ProofRun, Proven},
    },
    runner::{failure::ProofFailure, request::ProofRequest},
    settings::OrchestratorSettings,
    state::{
        dispatcher_input::{DispatcherInput, ForwardedEvent},
        published::{DispatchWriter, TryWriter},
        shared_state::SharedState,
    },
    tries::result_cache::ResultCache,
    workers::{
        disconnected::DisconnectedWorker, info::WorkerInfo, local_connector::LocalConnector, unreachable::ConnectError,
        worker_address::WorkerAddress,
    },
};
use sp1d_model::{OpenTasks, ProofEvent};
use sp1d_scheduler::TaskId;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{broadcast, mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};

/// Resources that an orchestrator holds for its proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holdings {
    /// Number of running proofs.
    pub proofs: usize,
    /// Number of attempts without an outcome.
    pub attempts: usize,
    /// Number of artifacts.
    pub artifacts: usize,
    /// Size of the artifacts in memory and on disk, in compressed bytes.
    pub bytes: u64,
}

/// Connections to workers, and the proofs that run on them. Dropping it ends all of them; [`Orchestrator::shutdown`]
/// also waits until they have ended.
pub struct Orchestrator {
    shared: Arc<SharedState>,
    /// Writes the running tries in `shared`. Only the cleanup of a try gets a copy.
    try_writer: TryWriter,
    membership: Membership,
    background: BackgroundTasks,
    /// Cancelled when the orchestrator ends.
    stop: CancellationToken,
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Orchestrator {
    /// Connects to all workers of `list` at the same time. A connection that fails is retried for two seconds. The last
    /// one may take a few seconds more if the worker accepts it and does not reply, and up to 20 s if the lookup of its
    /// name takes that long. A worker that is not reached then causes a warning and is retried as long as the
    /// orchestrator exists. If none is reached, waits for the first one, up to the patience in the settings. `local`
    /// connects to the worker of this process, for the entry `local` in the list.
    ///
    /// A worker that serves another orchestrator counts as reached. A proof waits for its turn there.
    ///
    /// All sessions run on the runtime that polls this future. [`Orchestrator::prove`] may be called from another
    /// runtime.
    ///
    /// # Errors
    /// Fails if no worker can be reached.
    pub async fn connect(
        list: &WorkerList,
        settings: OrchestratorSettings,
        local: Option<Arc<dyn LocalConnector>>,
    ) -> Result<Self, ConnectError> {
        let orchestrator = Self::start(settings, local, None);
        let connections = orchestrator.set_list(list);
        match first_contact(&orchestrator.shared, connections).await {
            Ok(()) => Ok(orchestrator),
            Err(error) => {
                orchestrator.shutdown().await;
                Err(error)
            }
        }
    }

    /// Starts an orchestrator without workers, for a process that outlives its worker list. See
    /// [`Orchestrator::set_list`] and [`Orchestrator::serve_joining`]. Tasks whose results are in `result_cache` are
    /// not proven again.
    ///
    /// All sessions run on the runtime in which this function is called.
    ///
    /// # Panics
    /// Panics if it is called outside a tokio runtime.
    #[must_use]
    pub fn start(
        settings: OrchestratorSettings,
        local: Option<Arc<dyn LocalConnector>>,
        result_cache: Option<Arc<dyn ResultCache>>,
    ) -> Self {
        let (inbox, inputs) = mpsc::channel(4096);
        let config = scheduler_config(&settings);
        let (dispatch_writer, try_writer) = (DispatchWriter::default(), TryWriter::default());
        let writers = (&dispatch_writer, &try_writer);
        let shared = Arc::new(SharedState::new(settings, local, result_cache, inbox, Handle::current(), writers));
        let (background, stop) = (BackgroundTasks::new(), CancellationToken::new());
        let dispatcher = Dispatcher::new(shared.clone(), dispatch_writer, config);
        background.spawn(dispatcher.run(inputs, stop.clone()));
        let membership = Membership::new(shared.clone(), background.clone(), stop.clone());
        Self { shared, try_writer, membership, background, stop }
    }

    /// Connects to the workers of `list` from now on, and ends the sessions with workers that are no longer in it.
    /// Returns the new workers in the order of the list, each with the receiver of its first outcome.
    ///
    /// When a proof starts, the orchestrator connects again to a worker that serves another one. An orchestrator
    /// without proofs releases a worker for which others wait.
    pub fn set_list(&self, list: &WorkerList) -> Vec<(WorkerAddress, FirstOutcome)> {
        self.membership.set_list(list)
    }

    /// Accepts workers that join through `listener`, until the orchestrator ends.
    pub fn serve_joining(&self, listener: TcpListener, settings: JoinSettings) {
        self.membership.serve_joining(listener, settings);
    }

    /// Runs `request` through `runner` on the connected workers, until it ends or `cancel` is cancelled. Sends
    /// events to `progress`.
    ///
    /// A proof restarts at most twice, and its timeout counts from the first start. It restarts in these cases:
    /// - Its execution was interrupted from outside.
    /// - A shard ran out of memory, or no connected worker has enough memory for it. The run is then cut into smaller
    ///   shards. If small workers were excluded and no large worker is connected any more, the cut is chosen again
    ///   instead.
    /// - It used cached results that may be wrong. They are removed from the result cache.
    /// - It does not verify, or a part of it is wrong, and its results were not verified. They are then verified.
    /// - It does not verify although its results do, or a shard without a marker, perhaps a precompile shard, could not
    ///   be proven. Then the workers' claims about deferred events are compared: a worker of another origin must make
    ///   the same claim for each core shard, if such a worker is available or a worker has made another claim.
    ///
    /// # Errors
    /// Returns why the proof failed.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the proof.
    pub async fn prove(
        &self,
        request: ProofRequest,
        runner: Arc<dyn ProofRunner>,
        progress: broadcast::Sender<ProofEvent>,
        cancel: CancellationToken,
    ) -> Result<Proven, ProofFailure> {
        let run = ProofRun { shared: &self.shared, try_writer: &self.try_writer, stop: &self.stop };
        run.prove(request, runner, progress, cancel).await
    }

    /// Removes a worker, given by name or address: ends its session if it is connected, and no longer lists it if it is
    /// disconnected. A worker that joined by itself may join again. A worker of the list is connected again when the
    /// list is set the next time.
    ///
    /// # Errors
    /// Fails if no such worker is known, or if several workers have the name, connected or not.
    pub fn forget(&self, worker: &str) -> Result<(), UnknownWorker> {
        self.membership.forget(worker)
    }

    /// Does the same as [`Orchestrator::shutdown`], for a shared orchestrator. With a lineage, it tells the workers to
    /// keep their attempts for the next orchestrator.
    pub async fn end(&self) {
        self.shared.is_ending.store(true, Ordering::Relaxed);
        self.stop.cancel();
        self.background.close();
        self.background.wait().await;
    }

    /// Ends all sessions and proofs, and waits until all their tokio tasks have ended.
    pub async fn shutdown(self) {
        self.end().await;
    }

    /// Returns a token that is cancelled when the dispatcher has panicked. All running proofs fail then, and every
    /// later proof fails at once. Only a new process, or at least a new orchestrator, can prove again.
    #[must_use]
    pub fn broken(&self) -> &CancellationToken {
        &self.shared.broken
    }

    /// Returns what is held now for all proofs. Soon after the last proof has ended, nothing is held.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        let stats = self.shared.store.stats();
        Holdings {
            proofs: self.shared.tries().len(),
            attempts: self.shared.attempts().len(),
            artifacts: stats.artifacts,
            bytes: stats.bytes,
        }
    }

    /// Returns the counters since the orchestrator started.
    #[must_use]
    pub fn counts(&self) -> OrchestratorCounts {
        self.shared.counters.now()
    }

    /// Returns the connected workers in the order in which they connected.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let pool = self.shared.snapshot();
        let workers = self.shared.workers();
        workers.iter().map(|(id, worker)| WorkerInfo::new(*id, worker, &pool)).collect()
    }

    /// Returns the disconnected workers: those that left, and those of the list that cannot be reached. A worker that
    /// had joined by itself stays listed for ten minutes.
    #[must_use]
    pub fn disconnected_workers(&self) -> Vec<DisconnectedWorker> {
        self.shared.disconnected().list(SystemTime::now())
    }

    /// Drains `worker`, given by name or address: it finishes the attempts that it proves and receives no more.
    /// Attempts that only wait there go to other workers. Resolves when the worker holds no attempt, when it is
    /// disconnected, or when it is resumed. It stays drained until [`Orchestrator::resume`], or until it reconnects.
    ///
    /// # Errors
    /// Fails if no such worker is connected, or if several workers have the name.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait. While the dispatcher has no room for the request, it also withdraws the
    /// request.
    pub async fn drain(&self, worker: &str) -> Result<(), UnknownWorker> {
        if let Some(wait) = self.send_drain(worker).await? {
            let _ = wait.await;
        }
        Ok(())
    }

    /// Same as [`Orchestrator::drain`], but waits at most `max_wait` after the dispatcher has the request. The drain
    /// continues after the wait.
    ///
    /// # Errors
    /// See [`Orchestrator::drain`].
    ///
    /// # Cancel safety
    /// See [`Orchestrator::drain`].
    pub async fn drain_for(&self, worker: &str, max_wait: Duration) -> Result<(), UnknownWorker> {
        if let Some(wait) = self.send_drain(worker).await? {
            let _ = timeout(max_wait, wait).await;
        }
        Ok(())
    }

    /// Asks the dispatcher to drain `worker`. The returned channel resolves when [`Orchestrator::drain`] does, or fails
    /// if the dispatcher ends. Returns `None` if the dispatcher has ended: no worker receives tasks any more.
    async fn send_drain(&self, worker: &str) -> Result<Option<oneshot::Receiver<()>>, UnknownWorker> {
        let session = self.membership.session_of(worker)?;
        let Ok(place) = self.shared.inbox.reserve().await else { return Ok(None) };
        let (wait_ended, wait) = oneshot::channel();
        place.send(DispatcherInput::Drain { session, wait_ended });
        Ok(Some(wait))
    }

    /// Allows a drained worker to receive tasks again. Resolves when the request is sent, which is before
    /// [`Orchestrator::workers`] shows it.
    ///
    /// # Errors
    /// Fails if no such worker is connected, or if several workers have the name.
    ///
    /// # Cancel safety
    /// Dropping the future before it resolves changes nothing.
    pub async fn resume(&self, worker: &str) -> Result<(), UnknownWorker> {
        let session = self.membership.session_of(worker)?;
        let Ok(place) = self.shared.inbox.reserve().await else { return Ok(()) };
        place.send(DispatcherInput::Event(ForwardedEvent::DrainCancelled { session }));
        Ok(())
    }

    /// Returns what happens with the open tasks of a running proof, and why some wait. `proof` is the proof's name
    /// in logs: see [`ProofRequest::label`](crate::ProofRequest::label). Describes at most `limit` open tasks, and
    /// never more than 1000, from the first one whose number is above `after`. The reply is empty if no such proof is
    /// running, and while a proof has no open tasks. Returns `None` if the orchestrator has stopped.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn open_tasks(&self, proof: &str, after: TaskId, limit: usize) -> Option<OpenTasks> {
        // This fails if the dispatcher has ended.
        let place = self.shared.inbox.reserve().await.ok()?;
        let running = self.shared.tries().values().rev().find(|state| state.label == proof).map(|state| state.id);
        let Some(id) = running else { return Some(OpenTasks::default()) };
        let (reply, wait) = oneshot::channel();
        place.send(DispatcherInput::OpenTasks { try_id: id, after, limit, reply });
        // If the dispatcher ends, it drops `reply`, which ends the wait.
        wait.await.ok()
    }
}
