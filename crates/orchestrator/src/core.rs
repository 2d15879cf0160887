//! The core: the one task that owns the scheduler.
//!
//! What happens comes in through one bounded channel; every command that comes out is carried out before the next event. Nothing here waits for
//! a network: what takes time is handed to tasks whose outcome comes back as another event.

use crate::{
    board::Outcome,
    controller::{Checked, ProofFailure, TaskInput, TaskSpec},
    orchestrator::Settings,
    progress::Progress,
    proof::ProofState,
    shared::{Attempt, Shared, attempt_scope, proof_scope},
};
use protocol::{
    Assignment, InputValue,
    wire::{self, ToWorker, to_worker},
};
use scheduler::{AttemptId, Command, Event, ProofId, Scheduler, TaskId, TaskKind, Timestamp, WorkerId};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Something the core is told.
pub(crate) enum Input {
    /// For the scheduler alone.
    Event(Event),
    /// A new task of `proof`.
    Submit { proof: Arc<ProofState>, task: TaskId, spec: TaskSpec },
    /// A proof is over.
    End(Arc<ProofState>),
}

struct TaskRecord {
    proof: Arc<ProofState>,
    spec: TaskSpec,
}

struct AttemptRecord {
    task: TaskId,
    worker: WorkerId,
    /// It delivered its result, which is checked once.
    reported: bool,
}

pub(crate) struct Core {
    scheduler: Scheduler,
    origin: Instant,
    shared: Arc<Shared>,
    tasks: HashMap<TaskId, TaskRecord>,
    /// Attempts the scheduler has neither discarded nor accepted.
    attempts: HashMap<AttemptId, AttemptRecord>,
    checkers: Arc<Semaphore>,
    checks: TaskTracker,
}

impl Core {
    pub(crate) fn new(shared: Arc<Shared>, config: scheduler::Config) -> Self {
        // Verifying takes a core for 50 ms a part; half of the machine is left to the executor.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            scheduler: Scheduler::new(config),
            origin: Instant::now(),
            shared,
            tasks: HashMap::new(),
            attempts: HashMap::new(),
            checkers: Arc::new(Semaphore::new(cores.div_ceil(2))),
            checks: TaskTracker::new(),
        }
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Input>, stop: CancellationToken) {
        let _end = End { shared: self.shared.clone(), stop: stop.clone() };
        loop {
            let deadline = self.scheduler.next_deadline();
            let tick = async {
                match deadline {
                    Some(at) => sleep_until(self.origin + at.since_origin()).await,
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                () = stop.cancelled() => break,
                input = inbox.recv() => match input {
                    Some(input) => input,
                    None => break,
                },
                () = tick => Input::Event(Event::Tick),
            };
            self.on_input(input);
        }
        // Checks that have something to say would wait for ever for somebody to hear it.
        drop(inbox);
        self.checks.close();
        self.checks.wait().await;
    }

    fn now(&self) -> Timestamp {
        Timestamp::new(self.origin.elapsed())
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Event(Event::AttemptReported { worker, attempt }) => {
                // Only the worker that has it, only once, and nothing that is over.
                match self.attempts.get_mut(&attempt) {
                    Some(record) if record.worker == worker && !record.reported => record.reported = true,
                    _ => return,
                }
                self.decide(Event::AttemptReported { worker, attempt });
                self.check_result(attempt);
            }
            Input::Event(Event::MarkerReported { worker, attempt }) => {
                // SP1 takes events that are missing for none: without them the marker is not complete, and the result does not count.
                if self.marker_is_delivered(attempt) {
                    self.decide(Event::MarkerReported { worker, attempt });
                }
            }
            Input::Event(event) => self.decide(event),
            // What SP1's detached tasks submit after the end would never be forgotten.
            Input::Submit { proof, .. } if proof.over.is_cancelled() => {}
            Input::Submit { proof, task, spec } => {
                if spec.kind == TaskKind::ProveShard {
                    proof.shards.fetch_add(1, Ordering::Relaxed);
                }
                proof.begin(spec.kind);
                let event = Event::TaskSubmitted { proof: proof.id, task, kind: spec.kind, marker: spec.marker };
                self.tasks.insert(task, TaskRecord { proof, spec });
                self.decide(event);
            }
            Input::End(proof) => {
                self.decide(Event::ProofEnded { proof: proof.id });
                self.tasks.retain(|_, record| record.proof.id != proof.id);
                self.shared.store.remove_scope(proof_scope(proof.id));
            }
        }
    }

    fn decide(&mut self, event: Event) {
        let mut commands: std::collections::VecDeque<_> = self.scheduler.handle(self.now(), event).into();
        while let Some(command) = commands.pop_front() {
            // Carrying out a command can show that a worker is gone, which is an event of its own.
            if let Some(follow_up) = self.carry_out(command) {
                commands.extend(self.scheduler.handle(self.now(), follow_up));
            }
        }
    }

    fn carry_out(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Assign { worker, attempt, proof, task, kind: _ } => {
                return self.assign(worker, attempt, proof, task);
            }
            Command::Cancel { worker, attempt } => {
                let cancel = to_worker::Message::Cancel(wire::Cancel { attempt: attempt.0 });
                return self.tell(worker, cancel);
            }
            Command::CompleteMarker { proof: _, marker, attempt } => self.complete_marker(marker, attempt),
            Command::AcceptResult { proof: _, task, attempt, worker } => self.accept(task, attempt, worker),
            Command::Discard { attempt } => {
                if self.attempts.remove(&attempt).is_some() {
                    self.forget(attempt);
                }
            }
            Command::FailProof { proof, task, kind, history } => {
                if let Some(state) = self.shared.proofs().get(&proof) {
                    state.fail(ProofFailure::Task { task, kind, history });
                }
            }
            Command::ExpireWorker { worker } => {
                if let Some(worker) = self.shared.worker(worker) {
                    tracing::info!(worker = %worker.name, "nothing was heard from a worker for a lease: its session is ended");
                    worker.closer.close();
                }
            }
        }
        None
    }

    fn forget(&self, attempt: AttemptId) {
        self.shared.attempts().remove(&attempt);
        self.shared.store.remove_scope(attempt_scope(attempt));
    }

    fn record_of(&self, attempt: AttemptId) -> Option<&TaskRecord> {
        self.tasks.get(&self.attempts.get(&attempt)?.task)
    }

    /// Hands `message` to the session; a session that takes no more is ended.
    fn tell(&self, worker: WorkerId, message: to_worker::Message) -> Option<Event> {
        let entry = self.shared.worker(worker)?;
        if entry.outbox.try_send(Ok(ToWorker { message: Some(message) })).is_ok() {
            return None;
        }
        entry.closer.close();
        Some(Event::WorkerLost { worker })
    }

    fn assign(&mut self, worker: WorkerId, attempt: AttemptId, proof: ProofId, task: TaskId) -> Option<Event> {
        let record = self.tasks.get(&task).expect("the scheduler assigns tasks it was given");
        let mut inputs = Vec::with_capacity(record.spec.inputs.len());
        for input in &record.spec.inputs {
            inputs.push(match input {
                TaskInput::Literal(text) => InputValue::Literal(text.clone()),
                TaskInput::Artifact { name, shared } => match self.shared.store.get(proof_scope(proof), name) {
                    Some(blob) => InputValue::Artifact {
                        name: name.clone(),
                        digest: blob.digest(),
                        length: blob.len(),
                        shared: *shared,
                    },
                    None => {
                        let text = format!("artifact {name}, an input of {task}, is gone");
                        record.proof.fail(ProofFailure::Internal(text));
                        return Some(Event::ProofEnded { proof });
                    }
                },
            });
        }
        let assignment = Assignment {
            attempt,
            proof: proof.to_string(),
            kind: record.spec.kind,
            inputs,
            outputs: record.spec.outputs.clone(),
            marker: record.spec.marker.map(|marker| marker.to_string()),
            options: record.proof.options.clone(),
            memory_bytes: record.spec.memory_bytes,
        };
        self.attempts.insert(attempt, AttemptRecord { task, worker, reported: false });
        let outputs = record.spec.outputs.clone();
        let entry = Attempt { worker, proof: record.proof.clone(), outputs };
        self.shared.attempts().insert(attempt, Arc::new(entry));
        self.tell(worker, to_worker::Message::Assign(assignment.into()))
    }

    fn marker_is_delivered(&self, attempt: AttemptId) -> bool {
        let Some(record) = self.record_of(attempt) else { return false };
        let delivered = |name: &String| self.shared.store.get(attempt_scope(attempt), name).is_some();
        record.spec.outputs.iter().skip(1).all(delivered)
    }

    /// What the attempt has delivered so far, but for the task's result, becomes the proof's own.
    fn complete_marker(&mut self, marker: TaskId, attempt: AttemptId) {
        let Some(record) = self.record_of(attempt) else { return };
        let (from, to) = (attempt_scope(attempt), proof_scope(record.proof.id));
        for name in self.shared.store.names(from) {
            if record.spec.outputs.first() != Some(&name) {
                self.shared.store.promote(from, to, &name);
            }
        }
        record.proof.board.end(marker, Outcome::Succeeded);
    }

    fn accept(&mut self, task: TaskId, attempt: AttemptId, worker: WorkerId) {
        let Some(record) = self.tasks.remove(&task) else { return };
        let TaskRecord { proof, spec } = record;
        self.attempts.remove(&attempt);
        let scope = proof_scope(proof.id);
        // The others belong to the marker.
        if let Some(name) = spec.outputs.first()
            && !self.shared.store.promote(attempt_scope(attempt), scope, name)
        {
            proof.fail(ProofFailure::Internal(format!("the result of {task} could not be kept as {name}")));
        }
        self.forget(attempt);
        for input in &spec.inputs {
            if let TaskInput::Artifact { name, shared: false } = input {
                self.shared.store.remove(scope, name);
            }
        }
        let (name, address) = match self.shared.worker(worker) {
            Some(worker) => (worker.name.clone(), worker.address.to_string()),
            None => (worker.to_string(), String::new()),
        };
        proof.done(spec.kind);
        proof.count(&name, &address);
        proof.report(Progress::Done { kind: spec.kind, worker: name });
        proof.board.end(task, Outcome::Succeeded);
    }

    /// Has the result of `attempt` checked, off this thread; the verdict comes back as an event.
    fn check_result(&self, attempt: AttemptId) {
        // A result that nobody waits for any more was discarded.
        let Some(record) = self.record_of(attempt) else { return };
        let (proof, spec) = (record.proof.clone(), record.spec.clone());
        let (shared, checkers) = (self.shared.clone(), self.checkers.clone());
        self.checks.spawn(async move {
            let _place = checkers.acquire_owned().await.expect("the checkers are never closed");
            let verdict = tokio::task::spawn_blocking({
                let shared = shared.clone();
                move || check(&shared, &proof, &spec, attempt)
            })
            .await;
            let event = match verdict {
                Ok(Ok(())) => Event::ResultVerified { attempt },
                Ok(Err(reason)) => Event::ResultRejected { attempt, reason },
                Err(_) => Event::ResultRejected { attempt, reason: "checking the result panicked".to_owned() },
            };
            // When the core is gone, so is the question.
            let _ = shared.inbox.send(Input::Event(event)).await;
        });
    }
}

/// A core that panics must not leave anybody waiting for it.
struct End {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for proof in self.shared.proofs().values() {
                proof.fail(ProofFailure::Internal("the orchestrator's core panicked".to_owned()));
            }
        }
        self.stop.cancel();
    }
}

fn check(shared: &Shared, proof: &ProofState, spec: &TaskSpec, attempt: AttemptId) -> Result<(), String> {
    let Some(name) = spec.outputs.first() else { return Ok(()) };
    let blob = shared.store.get(attempt_scope(attempt), name).ok_or("the worker delivered no result")?;
    let output = blob.decode().map_err(|error| error.to_string())?;
    proof.check(Checked { spec, mode: proof.mode, output })
}

/// What the settings mean to the scheduler.
pub(crate) fn scheduler_config(settings: &Settings) -> scheduler::Config {
    scheduler::Config { lease_ttl: settings.silence(), placement: settings.placement, ..scheduler::Config::default() }
}
