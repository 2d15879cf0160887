//! The orchestrator as its users hold it.

use crate::{
    controller::{ProofController, ProofFailure, ProofOutput, ProofRequest},
    core::{Core, Input, scheduler_config},
    dialler::{LocalConnector, keep_connected},
    list::{Member, WorkerList},
    progress::{Progress, WorkerShare},
    proof::{ProofHandle, ProofState},
    shared::{Shared, proof_scope},
};
use futures::future::join_all;
use protocol::Build;
use scheduler::{Event, Placement, ProofId, TaskKind};
use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longest wait for a failed proof's execution to end.
const LONGEST_END: Duration = Duration::from_secs(10);

/// Most attempts that a worker may hold at a time: it drops more than it can count, and nobody needs as many.
pub const MOST_SHARDS: u32 = 128;

/// How an orchestrator behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What it proves with; workers must have the same.
    pub build: Build,
    /// How many attempts a worker may hold at a time, from assignment to report: 1 for the least memory, at most [`MOST_SHARDS`].
    pub shard_batch_size: u32,
    /// Whether all workers share the work, or as few as finish as early.
    pub placement: Placement,
    /// Time between signs of life.
    pub heartbeat: Duration,
    /// Signs of life that may be missed before a side gives the other up.
    pub missed_heartbeats: u32,
    /// How long a proof waits when no worker at all is connected.
    pub patience: Duration,
}

impl Settings {
    /// The defaults for `build`: two attempts, spread, heartbeats of a second of which three may be missed, a minute of patience.
    #[must_use]
    pub fn new(build: Build) -> Self {
        Self {
            build,
            shard_batch_size: 2,
            placement: Placement::Spread,
            heartbeat: Duration::from_secs(1),
            missed_heartbeats: 3,
            patience: Duration::from_secs(60),
        }
    }

    /// Silence after which the other side is given up.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.heartbeat * self.missed_heartbeats.max(1)
    }
}

/// A worker that could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// Which one.
    pub worker: Member,
    /// Why it was not reached.
    pub reason: String,
}

/// No worker of the list could be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("none of the {} workers can be reached: {}; start them with `sp1d worker`, or correct the list", .0.len(), Listed(.0))]
pub struct ConnectError(pub Vec<Unreachable>);

struct Listed<'a>(&'a [Unreachable]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Unreachable { worker, reason }) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{worker} ({reason})")?;
        }
        Ok(())
    }
}

/// A finished proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// What the controller made.
    pub output: ProofOutput,
    /// Shards it was made of.
    pub shards: u64,
    /// Who did how much.
    pub workers: Vec<WorkerShare>,
}

/// What an orchestrator holds for its proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holdings {
    /// Running proofs.
    pub proofs: usize,
    /// Attempts whose outcome is open.
    pub attempts: usize,
    /// Artifacts.
    pub artifacts: usize,
    /// Bytes of artifacts in memory, compressed.
    pub bytes: u64,
}

/// Connections to workers, and the proofs that run on them. Everything ends when it is dropped; [`Orchestrator::shutdown`] also waits for it.
pub struct Orchestrator {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Orchestrator {
    /// Connects to all workers of `list` at the same time. Those that cannot be reached are warned about and tried again as long as the
    /// orchestrator lives. `local` is the way to the worker of this process, for the list's entry `local`.
    ///
    /// All sessions live on the runtime that polls this future; [`Orchestrator::prove`] may be called from another.
    ///
    /// # Errors
    /// When none can be reached.
    pub async fn connect(
        list: &WorkerList,
        settings: Settings,
        local: Option<Arc<dyn LocalConnector>>,
    ) -> Result<Self, ConnectError> {
        let (inbox, inputs) = mpsc::channel(4096);
        let config = scheduler_config(&settings);
        let shared = Arc::new(Shared::new(settings, local, inbox));
        let orchestrator = Self { shared: shared.clone(), tasks: TaskTracker::new(), stop: CancellationToken::new() };
        let core = Core::new(shared.clone(), config);
        orchestrator.tasks.spawn(core.run(inputs, orchestrator.stop.clone()));
        let firsts: Vec<_> = list.0.iter().map(|member| orchestrator.dial(member.clone())).collect();
        let outcomes = join_all(firsts).await;
        let mut unreachable = Vec::new();
        for (worker, outcome) in list.0.iter().zip(outcomes) {
            let reason = match outcome {
                Ok(Ok(name)) => {
                    tracing::info!(%name, %worker, "worker reached");
                    continue;
                }
                Ok(Err(reason)) => reason,
                Err(_) => "the connection's task ended".to_owned(),
            };
            tracing::warn!(%worker, %reason, "worker left out: it cannot be reached");
            unreachable.push(Unreachable { worker: worker.clone(), reason });
        }
        if unreachable.len() == list.0.len() {
            orchestrator.shutdown().await;
            return Err(ConnectError(unreachable));
        }
        Ok(orchestrator)
    }

    fn dial(&self, member: Member) -> oneshot::Receiver<Result<String, String>> {
        let (first, outcome) = oneshot::channel();
        self.tasks.spawn(keep_connected(member, self.shared.clone(), first, self.stop.clone()));
        outcome
    }

    /// Ends all sessions and proofs, and waits until nothing of them runs any more.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What is held now, over all proofs: nothing, soon after the last of them ended.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        let stats = self.shared.store.stats();
        Holdings {
            proofs: self.shared.proofs().len(),
            attempts: self.shared.attempts().len(),
            artifacts: stats.artifacts,
            bytes: stats.bytes,
        }
    }

    /// Runs `request` through `controller` on the connected workers, until `cancel`. What happens on the way goes to `progress`.
    ///
    /// # Errors
    /// Why there is no proof.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the proof.
    pub async fn prove(
        &self,
        request: ProofRequest,
        controller: Arc<dyn ProofController>,
        progress: broadcast::Sender<Progress>,
        cancel: CancellationToken,
    ) -> Result<Proven, ProofFailure> {
        let id = ProofId(self.shared.next_proof.fetch_add(1, Ordering::Relaxed));
        let state = Arc::new(ProofState::new(id, &request, controller.clone(), progress));
        let proof = Running { state: state.clone(), shared: self.shared.clone() };
        self.shared.proofs().insert(id, state.clone());
        let started = Input::Event(Event::ProofStarted { proof: id });
        if self.shared.inbox.send(started).await.is_err() {
            return Err(ProofFailure::Cancelled);
        }
        let timeout = request.timeout;
        let handle = ProofHandle { state: state.clone(), shared: self.shared.clone() };
        let mut run = controller.run(handle, request);
        let failure = tokio::select! {
            outcome = &mut run => Err(outcome),
            () = cancel.cancelled() => Ok(ProofFailure::Cancelled),
            () = self.stop.cancelled() => Ok(ProofFailure::Cancelled),
            () = state.over.cancelled() => Ok(ProofFailure::Cancelled),
            failure = out_of_time(timeout) => Ok(failure),
            failure = out_of_workers(&self.shared, &state) => Ok(failure),
        };
        let outcome = match failure {
            Err(outcome) => outcome,
            Ok(failure) => {
                // The first cause stays; the run ends by itself, so that its child process and shared memory are gone before anybody
                // hears of the failure.
                state.fail(failure.clone());
                state.board.close();
                if tokio::time::timeout(LONGEST_END, run).await.is_err() {
                    tracing::warn!(proof = %id, "the proof's execution did not end in time and was abandoned");
                }
                Err(failure)
            }
        };
        let outcome = match state.failure() {
            Some(failure) => Err(failure),
            None => outcome,
        };
        drop(proof);
        let output = outcome?;
        Ok(Proven { output, shards: state.shards.load(Ordering::Relaxed), workers: state.shares() })
    }
}

async fn out_of_time(timeout: Option<Duration>) -> ProofFailure {
    match timeout {
        Some(timeout) => {
            sleep(timeout).await;
            ProofFailure::Timeout(timeout)
        }
        None => std::future::pending().await,
    }
}

/// Resolves when nobody has been connected, or nobody who can do what the proof waits for, for as long as the settings allow.
async fn out_of_workers(shared: &Shared, proof: &ProofState) -> ProofFailure {
    let (mut alone_since, mut stuck_since) = (None, None);
    loop {
        sleep(Duration::from_millis(250)).await;
        match TaskKind::ALL.into_iter().filter(|kind| proof.waits_for(*kind)).find_map(|kind| {
            let reasons = shared.inability(kind)?;
            Some((kind, reasons))
        }) {
            Some((kind, reasons)) => {
                let since = *stuck_since.get_or_insert_with(|| {
                    tracing::warn!(%kind, ?reasons, "no connected worker does such tasks: waiting for one that does");
                    Instant::now()
                });
                if since.elapsed() >= shared.settings.patience {
                    return ProofFailure::Unable { kind, reasons };
                }
            }
            None => stuck_since = None,
        }
        if !shared.workers().is_empty() {
            alone_since = None;
            continue;
        }
        let since = *alone_since.get_or_insert_with(|| {
            tracing::warn!(last = %shared.last_departure(), "no worker is connected: waiting for one to come back");
            Instant::now()
        });
        if since.elapsed() >= shared.settings.patience {
            return ProofFailure::NoWorkers { waited: since.elapsed(), last: shared.last_departure().clone() };
        }
    }
}

/// Cleans up when the proof is over, also when its future is dropped.
struct Running {
    state: Arc<ProofState>,
    shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.state.over.cancel();
        self.state.board.close();
        self.state.end_progress();
        self.shared.proofs().remove(&self.state.id);
        self.shared.store.remove_scope(proof_scope(self.state.id));
        let (shared, state) = (self.shared.clone(), self.state.clone());
        if let Err(mpsc::error::TrySendError::Full(input)) = shared.inbox.try_send(Input::End(state)) {
            // The core is behind; it will get there.
            tokio::spawn(async move { shared.inbox.send(input).await });
        }
    }
}
