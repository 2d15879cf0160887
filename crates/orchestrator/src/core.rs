//! The dispatcher: the tokio task that owns the scheduler.
//!
//! All inputs arrive through one bounded channel. The dispatcher carries out every command of the scheduler before it
//! takes the next input. It never waits for the network. Slow work runs in other tasks, and their outcome arrives as
//! another input.

use crate::{
    believed::Believed,
    board::Outcome,
    controller::{Checked, CheckedMarker, ProofFailure, TaskInput, TaskSpec, too_large},
    evidence::Judgement,
    memo::{Delivered, remembered},
    orchestrator::{Settings, Verify},
    progress::{AttemptNews, AttemptStep, Progress},
    proof::{ProofHandle, ProofState},
    shared::{Attempt, Shared, attempt_scope, proof_scope},
};
use artifacts::{Description, Digest, StoreError};
use protocol::{
    Assignment, InputValue,
    wire::{self, ToWorker, to_worker},
};
use scheduler::{
    AttemptId, Command, Event, Failure, KindSet, PastAttempt, PeerId, ProofId, Scheduler, TaskId, Timestamp, WorkerId,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// An input of the dispatcher.
pub(crate) enum Input {
    /// An event for the scheduler. For some events, the dispatcher does its own part first.
    Event(Event),
    /// A worker is ready for tasks.
    Joined(Joined),
    /// A controller submitted a new task of `proof`.
    Submit {
        proof: Arc<ProofState>,
        task: TaskId,
        spec: TaskSpec,
        /// Key of the task's results in the result cache; `None` if they are not cached.
        key: Option<Digest>,
    },
    /// The deferred events that `attempt` delivered for its marker were checked.
    MarkerChecked { attempt: AttemptId, verdict: Result<(), String> },
    /// Drain a worker: it finishes the attempts that it proves and receives no more. `drained` is notified when the
    /// worker holds no attempt.
    Drain { worker: WorkerId, drained: oneshot::Sender<()> },
    /// A proof has ended.
    End(Arc<ProofState>),
}

/// A worker that is ready for tasks.
pub(crate) struct Joined {
    pub(crate) worker: WorkerId,
    pub(crate) peer: PeerId,
    /// Memory that an attempt on the worker can use, in bytes; 0 if unknown.
    pub(crate) memory_bytes: u64,
    pub(crate) slots: u32,
    pub(crate) kinds: KindSet,
    pub(crate) holds: Vec<AttemptId>,
    /// Work of an earlier run that the worker can resume: the key of each task, and the attempt of that run.
    pub(crate) begun: Vec<(Digest, AttemptId)>,
}

/// An attempt of an earlier run, and the worker that can resume it.
#[derive(Debug, Clone, Copy)]
struct Begun {
    worker: WorkerId,
    peer: PeerId,
    attempt: AttemptId,
}

struct TaskRecord {
    proof: Arc<ProofState>,
    spec: TaskSpec,
    /// Key under which its results are cached.
    key: Option<Digest>,
    /// Artifacts delivered for its marker, to be cached together with its result.
    delivered: Delivered,
}

struct AttemptRecord {
    task: TaskId,
    worker: WorkerId,
    maker: Maker,
    /// The attempt has reported its result, or its result is no longer wanted. Further reports are ignored.
    reported: bool,
    marker: MarkerCheck,
}

/// The worker that makes an attempt. It may be disconnected when the result of the attempt is accepted.
#[derive(Debug, Clone)]
struct Maker {
    peer: PeerId,
    name: String,
}

/// State of the check of an attempt's marker. The marker is checked once per session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MarkerCheck {
    /// No marker was reported.
    Unsaid,
    /// The check is running.
    Running,
    /// The check has ended.
    Over,
}

/// Owns the scheduler and carries out its commands.
pub(crate) struct Core {
    scheduler: Scheduler,
    origin: Instant,
    shared: Arc<Shared>,
    tasks: HashMap<TaskId, TaskRecord>,
    /// Attempts that the scheduler has neither discarded nor accepted.
    attempts: HashMap<AttemptId, AttemptRecord>,
    /// Attempts of an earlier run that a worker can resume and no task has used yet, by the key of their task.
    begun: HashMap<Digest, Begun>,
    /// Callers that wait for a worker to hold no attempt.
    drains: HashMap<WorkerId, Vec<oneshot::Sender<()>>>,
    checkers: Arc<Semaphore>,
    checks: TaskTracker,
}

impl Core {
    pub(crate) fn new(shared: Arc<Shared>, config: scheduler::Config) -> Self {
        // A check uses one core for about 50 ms. Half of the cores are left to the executor.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            scheduler: Scheduler::new(config),
            origin: Instant::now(),
            shared,
            tasks: HashMap::new(),
            attempts: HashMap::new(),
            begun: HashMap::new(),
            drains: HashMap::new(),
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
                // Check `stop` first. When the orchestrator stops, its proofs end. Handling these ends would cancel
                // attempts that the workers may resume for the next orchestrator.
                biased;
                () = stop.cancelled() => break,
                input = inbox.recv() => match input {
                    Some(input) => input,
                    None => break,
                },
                () = tick => Input::Event(Event::Tick),
            };
            self.on_input(input);
        }
        // Without this, checks that have a verdict would wait forever for room in the inbox.
        drop(inbox);
        self.checks.close();
        self.checks.wait().await;
    }

    fn now(&self) -> Timestamp {
        Timestamp::new(self.origin.elapsed())
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Event(Event::AttemptReported { worker, attempt }) => self.on_reported(worker, attempt),
            Input::Event(Event::MarkerReported { worker, attempt }) => self.on_marker_reported(worker, attempt),
            Input::MarkerChecked { attempt, verdict } => self.on_marker_checked(attempt, verdict),
            // SP1's detached tasks may submit after the proof has ended. Such tasks would never be removed.
            Input::Submit { proof, .. } if proof.over.is_cancelled() => {}
            Input::Submit { proof, task, spec, key } => {
                if spec.kind.is_shard() {
                    proof.shards.fetch_add(1, Ordering::Relaxed);
                }
                proof.begin(spec.kind);
                let begun_on = key.and_then(|key| self.begun.get(&key)).map(|begun| begun.worker);
                let (kind, marker) = (spec.kind, spec.marker);
                let event = Event::TaskSubmitted { proof: proof.id, task, kind, marker, begun_on };
                self.tasks.insert(task, TaskRecord { proof, spec, key, delivered: Delivered::new() });
                self.decide(event);
            }
            Input::Joined(Joined { worker, peer, memory_bytes, slots, kinds, holds, begun }) => {
                // The worker reports again everything that it can still resume, so drop its earlier reports. If two
                // workers can resume the same task, the one that reports first is used.
                self.begun.retain(|_, begun| begun.peer != peer);
                for (key, attempt) in begun {
                    self.begun.entry(key).or_insert(Begun { worker, peer, attempt });
                }
                let begun = self.tasks_begun_on(worker);
                self.decide(Event::WorkerJoined { worker, peer, memory_bytes, slots, kinds, holds, begun });
            }
            Input::Drain { worker, drained } => {
                self.drains.entry(worker).or_default().push(drained);
                self.decide(Event::WorkerDraining { worker });
                if self.scheduler.worker_status(worker).is_none() {
                    // The worker is not ready or is disconnected, so it holds no attempt.
                    self.drains.remove(&worker);
                }
            }
            Input::Event(event @ (Event::WorkerLost { worker } | Event::WorkerResumed { worker })) => {
                // The worker is no longer drained, so end the wait of the callers.
                self.drains.remove(&worker);
                if matches!(event, Event::WorkerLost { .. }) {
                    self.begun.retain(|_, begun| begun.worker != worker);
                }
                self.decide(event);
            }
            Input::Event(event) => {
                let has = |worker: &WorkerId, attempt: &AttemptId| {
                    self.attempts.get(attempt).is_some_and(|record| record.worker == *worker)
                };
                match &event {
                    Event::AttemptStarted { worker, attempt } if has(worker, attempt) => {
                        self.tell_of_live(*attempt, AttemptStep::Started);
                    }
                    Event::AttemptFailed { worker, attempt, failure } if has(worker, attempt) => {
                        self.tell_of_live(*attempt, AttemptStep::Failed(failure.to_string()));
                    }
                    Event::ResultRejected { attempt, reason } => {
                        self.tell_of_live(*attempt, AttemptStep::Failed(reason.clone()));
                    }
                    _ => {}
                }
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
            // Carrying out a command can show that a worker is disconnected, which is another event.
            if let Some(follow_up) = self.carry_out(command) {
                commands.extend(self.scheduler.handle(self.now(), follow_up));
            }
        }
    }

    /// Returns the tasks that `worker` can resume, one for each attempt.
    fn tasks_begun_on(&self, worker: WorkerId) -> Vec<TaskId> {
        let is_its = |key: &Digest| self.begun.get(key).is_some_and(|begun| begun.worker == worker);
        let keys = self.tasks.iter().filter_map(|(task, record)| Some((record.key.filter(is_its)?, *task)));
        let first = keys.fold(BTreeMap::new(), |mut first: BTreeMap<Digest, TaskId>, (key, task)| {
            first.entry(key).and_modify(|known| *known = task.min(*known)).or_insert(task);
            first
        });
        first.into_values().collect()
    }

    /// Returns the attempt of an earlier run that `worker` resumes when it gets the task with `key`. Each such attempt
    /// is returned only once.
    fn take_begun(&mut self, worker: WorkerId, key: Option<Digest>) -> Option<AttemptId> {
        let key = key?;
        let attempt = self.begun.get(&key).filter(|begun| begun.worker == worker)?.attempt;
        self.begun.remove(&key);
        Some(attempt)
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
                self.tell_of_live(attempt, AttemptStep::Dropped);
                if self.attempts.remove(&attempt).is_some() {
                    self.forget(attempt);
                }
            }
            Command::FailProof { proof, task, kind, history } => {
                if let Some(state) = self.shared.proofs().get(&proof) {
                    // A shard without a marker is not a core shard. A precompile shard is made from the deferred events
                    // that other attempts claimed.
                    if kind.is_shard() && self.tasks.get(&task).is_some_and(|task| task.spec.marker.is_none()) {
                        state.evidence.suspect();
                    }
                    let out_of_memory = |past: &PastAttempt| matches!(past.failure, Failure::OutOfMemory(_));
                    state.fail(if kind.is_shard() && history.iter().any(out_of_memory) {
                        ProofFailure::Memory(too_large(task, kind, &history))
                    } else {
                        ProofFailure::Task { task, kind, history }
                    });
                }
            }
            Command::Adopt { worker, attempt } => return self.adopt(worker, attempt),
            Command::Quarantine { worker, duration, reason } => {
                if let Some(worker) = self.shared.worker(worker) {
                    *worker.quarantine() = Some(reason.clone());
                    let seconds = duration.as_secs();
                    tracing::warn!(worker = %worker.name, seconds, %reason, "worker quarantined");
                }
            }
            Command::Probation { worker } => {
                if let Some(worker) = self.shared.worker(worker) {
                    worker.quarantine().take();
                    tracing::info!(worker = %worker.name, "worker on probation: it gets one task at a time");
                }
            }
            Command::WorkerDrained { worker } => {
                // The caller may have stopped waiting.
                let waiting = self.drains.remove(&worker).unwrap_or_default();
                waiting.into_iter().for_each(|drained| _ = drained.send(()));
            }
            Command::ExpireWorker { worker } => {
                self.shared.end_session(worker);
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

    /// Hands `message` to the session. If the session accepts no more messages, it is closed and counts as lost.
    fn tell(&self, worker: WorkerId, message: to_worker::Message) -> Option<Event> {
        let entry = self.shared.worker(worker)?;
        if entry.outbox.try_send(Ok(ToWorker { message: Some(message) })).is_ok() {
            return None;
        }
        entry.closer.close();
        Some(Event::WorkerLost { worker })
    }

    fn assign(&mut self, worker: WorkerId, attempt: AttemptId, proof: ProofId, task: TaskId) -> Option<Event> {
        let key = self.tasks.get(&task).expect("the scheduler only assigns tasks that were submitted").key;
        let Some(found) = self.shared.worker(worker) else { return Some(Event::WorkerLost { worker }) };
        let resumes = self.take_begun(worker, key);
        let record = &self.tasks[&task];
        let mut inputs = Vec::with_capacity(record.spec.inputs.len());
        for input in &record.spec.inputs {
            inputs.push(match input {
                TaskInput::Literal(text) => InputValue::Literal(text.clone()),
                TaskInput::Artifact { name, shared } => match self.shared.store.describe(proof_scope(proof), name) {
                    Some(Description { digest, len }) => {
                        InputValue::Artifact { name: name.clone(), digest, length: len, shared: *shared }
                    }
                    None => {
                        let text = format!("artifact {name}, an input of task {task}, no longer exists");
                        record.proof.fail(ProofFailure::Internal(text));
                        return Some(Event::ProofEnded { proof });
                    }
                },
            });
        }
        let assignment = Assignment {
            attempt,
            proof: record.proof.label.clone(),
            kind: record.spec.kind,
            inputs,
            outputs: record.spec.outputs.clone(),
            marker: record.spec.marker.map(|marker| marker.to_string()),
            options: record.proof.options().to_owned(),
            memory_bytes: record.spec.memory_bytes,
            key,
            resumes,
        };
        let maker = Maker { peer: self.shared.peer(&found.name, &found.address), name: found.name.clone() };
        let entry = AttemptRecord { task, worker, maker, reported: false, marker: MarkerCheck::Unsaid };
        self.attempts.insert(attempt, entry);
        self.tell_of(&record.proof, task, &record.spec, attempt, worker, AttemptStep::Assigned);
        let outputs = record.spec.outputs.clone();
        let entry = Attempt { worker, proof: record.proof.clone(), outputs, resumes };
        self.shared.attempts().insert(attempt, Arc::new(entry));
        self.tell(worker, to_worker::Message::Assign(assignment.into()))
    }

    /// Assigns the attempt to the new session of its worker, together with what the old session delivered.
    fn adopt(&mut self, worker: WorkerId, attempt: AttemptId) -> Option<Event> {
        let record = self.attempts.get_mut(&attempt)?;
        record.worker = worker;
        // Reports that arrived while the worker counted as lost were ignored. The worker repeats all its reports.
        record.reported = false;
        if record.marker == MarkerCheck::Over {
            record.marker = MarkerCheck::Unsaid;
        }
        if let Some(entry) = self.shared.attempts().get_mut(&attempt) {
            let Attempt { worker: _, proof, outputs, resumes } = &**entry;
            *entry = Arc::new(Attempt { worker, proof: proof.clone(), outputs: outputs.clone(), resumes: *resumes });
        }
        if let Some(worker) = self.shared.worker(worker) {
            tracing::info!(worker = %worker.name, %attempt, "worker reconnected and continues an attempt");
        }
        self.tell(worker, to_worker::Message::Adopted(wire::Adopted { attempt: attempt.0 }))
    }

    fn on_reported(&mut self, worker: WorkerId, attempt: AttemptId) {
        // Accept only the first report, only from the worker that holds the attempt, and only while the attempt is
        // live.
        match self.attempts.get_mut(&attempt) {
            Some(record) if record.worker == worker && !record.reported => {
                record.reported = true;
                // The scheduler ignores the marker of an attempt that has ended. So the result waits until the marker
                // is checked.
                if record.marker == MarkerCheck::Running {
                    return;
                }
            }
            _ => return,
        }
        self.take_report(worker, attempt);
    }

    fn take_report(&mut self, worker: WorkerId, attempt: AttemptId) {
        self.decide(Event::AttemptReported { worker, attempt });
        self.check_result(attempt);
    }

    fn marker_is_delivered(&self, attempt: AttemptId) -> bool {
        let Some(record) = self.record_of(attempt) else { return false };
        let delivered = |name: &String| self.shared.store.describe(attempt_scope(attempt), name).is_some();
        record.spec.marker.is_some() && record.spec.outputs.iter().skip(1).all(delivered)
    }

    /// Starts the check of what `attempt` delivered for its marker, because SP1 makes shards of it without checking it.
    fn on_marker_reported(&mut self, worker: WorkerId, attempt: AttemptId) {
        // SP1 treats missing events as no events. So without its events, a marker is not complete and the result does
        // not count.
        if !self.marker_is_delivered(attempt) {
            return;
        }
        match self.attempts.get_mut(&attempt) {
            Some(record) if record.worker == worker && !record.reported && record.marker == MarkerCheck::Unsaid => {
                record.marker = MarkerCheck::Running;
            }
            _ => return,
        }
        let Some(record) = self.record_of(attempt) else { return };
        let spec = record.spec.clone();
        self.check_aside(
            record.proof.clone(),
            attempt,
            move |proof| check_marker(proof, &spec, attempt),
            move |verdict| Input::MarkerChecked { attempt, verdict },
        );
    }

    fn on_marker_checked(&mut self, attempt: AttemptId, verdict: Result<(), String>) {
        // The attempt was discarded while its marker was checked.
        let Some(record) = self.attempts.get_mut(&attempt) else { return };
        record.marker = MarkerCheck::Over;
        let (worker, reported) = (record.worker, record.reported);
        let failure = match verdict.map(|()| self.judge(worker, attempt)) {
            // Two attempts claim the same artifact name, and it is unknown which of them owns it.
            Ok(_) if self.has_taken_names(attempt) => Failure::Disputed,
            Ok(Judgement::Taken { liars }) => {
                for peer in liars {
                    let reason = "it claimed other deferred events for a shard than two other workers".to_owned();
                    tracing::warn!(%peer, %reason, "worker made a wrong claim");
                    self.decide(Event::PeerBlamed { peer, reason });
                }
                self.decide(Event::MarkerReported { worker, attempt });
                if reported {
                    self.take_report(worker, attempt);
                }
                return;
            }
            Ok(Judgement::Wrong) => {
                Failure::Rejected("two other workers claimed other deferred events for the same shard".to_owned())
            }
            Ok(Judgement::Open) => Failure::Disputed,
            Err(reason) => Failure::Rejected(reason),
        };
        if !reported {
            // Cancel first, so that the cancellation arrives before the task that replaces the attempt. The result of
            // the attempt is no longer wanted.
            if let Some(record) = self.attempts.get_mut(&attempt) {
                record.reported = true;
            }
            let cancel = to_worker::Message::Cancel(wire::Cancel { attempt: attempt.0 });
            if let Some(lost) = self.tell(worker, cancel) {
                self.decide(lost);
            }
        }
        self.tell_of_live(attempt, AttemptStep::Failed(failure.to_string()));
        self.decide(Event::AttemptFailed { worker, attempt, failure });
    }

    /// Returns true if the attempt made an artifact whose name the proof already has with other content. This is
    /// possible because a worker itself says which earlier attempt it resumes.
    fn has_taken_names(&self, attempt: AttemptId) -> bool {
        let Some(TaskRecord { proof, spec, .. }) = self.record_of(attempt) else { return false };
        let (from, to) = (attempt_scope(attempt), proof_scope(proof.id));
        let digest = |scope, name: &str| self.shared.store.describe(scope, name).map(|found| found.digest);
        let is_taken = |name: &String| digest(to, name).is_some_and(|present| Some(present) != digest(from, name));
        let names = self.shared.store.names(from);
        names.iter().filter(|name| !spec.outputs.contains(name)).any(is_taken)
    }

    /// Compares the deferred events that `attempt` claims with those that other attempts claimed for the same shard.
    fn judge(&self, worker: WorkerId, attempt: AttemptId) -> Judgement {
        let taken = Judgement::Taken { liars: Vec::new() };
        let Some(TaskRecord { proof, spec, .. }) = self.record_of(attempt) else { return taken };
        let scope = attempt_scope(attempt);
        let made = self.shared.store.names(scope).into_iter().filter(|name| !spec.outputs.contains(name));
        let claim =
            made.filter_map(|name| Some(*self.shared.store.describe(scope, &name)?.digest.as_bytes())).collect();
        // The record identifies the shard. Shared inputs, such as the program, are the same for all shards.
        let record = spec.inputs.iter().find_map(|input| match input {
            TaskInput::Artifact { name, shared: false } => self.shared.store.describe(proof_scope(proof.id), name),
            TaskInput::Artifact { .. } | TaskInput::Literal(_) => None,
        });
        let (Some(record), Some(found)) = (record, self.shared.worker(worker)) else { return taken };
        let gets =
            |id: &WorkerId| self.scheduler.worker_status(*id).is_some_and(|status| status.kinds.contains(spec.kind));
        let others = self.shared.workers().keys().filter(|id| **id != worker && gets(id)).count();
        proof.evidence.hear(record.digest, claim, self.shared.peer(&found.name, &found.address), others == 0)
    }

    /// Moves what the attempt has delivered so far, except the task's result, to the proof, and completes the marker.
    fn complete_marker(&mut self, marker: TaskId, attempt: AttemptId) {
        let Some(task) = self.attempts.get(&attempt).map(|record| record.task) else { return };
        let Some(record) = self.tasks.get_mut(&task) else { return };
        let (from, to) = (attempt_scope(attempt), proof_scope(record.proof.id));
        for name in self.shared.store.names(from) {
            if record.spec.outputs.first() != Some(&name) {
                if record.key.is_some()
                    && let Some(stored) = self.shared.store.get(from, &name)
                {
                    record.delivered.push((name.clone(), stored));
                }
                self.shared.store.promote(from, to, &name);
            }
        }
        record.proof.board.end(marker, Outcome::Succeeded);
    }

    fn accept(&mut self, task: TaskId, attempt: AttemptId, worker: WorkerId) {
        let Some(record) = self.tasks.remove(&task) else { return };
        let TaskRecord { proof, spec, key, delivered } = record;
        let maker = self.attempts.remove(&attempt).map(|attempt| attempt.maker);
        let scope = proof_scope(proof.id);
        // The other outputs belong to the marker.
        if let Some(name) = spec.outputs.first()
            && !self.shared.store.promote(attempt_scope(attempt), scope, name)
        {
            proof.fail(ProofFailure::Internal(format!("cannot store the result of task {task} as artifact {name}")));
        }
        self.remember(&proof, &spec, key, delivered);
        self.tell_of(&proof, task, &spec, attempt, worker, AttemptStep::Done);
        self.forget(attempt);
        if let Some(maker) = maker {
            proof.believe(Believed { spec: spec.clone(), peer: maker.peer, worker: maker.name });
        }
        for input in &spec.inputs {
            if let TaskInput::Artifact { name, shared: false } = input {
                self.shared.remove(&proof, name);
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

    /// Stores the result of a task in the result cache, on another thread.
    fn remember(&self, proof: &Arc<ProofState>, spec: &TaskSpec, key: Option<Digest>, delivered: Delivered) {
        let (Some(memo), Some(key), Some(name)) = (self.shared.memo.clone(), key, spec.outputs.first()) else { return };
        let Some(output) = self.shared.store.get(proof_scope(proof.id), name) else { return };
        proof.note_memo(key);
        let spec = spec.clone();
        self.checks.spawn_blocking(move || {
            if let Some(result) = remembered(&spec, output, delivered) {
                memo.keep(key, result);
            }
        });
    }

    /// Reports a step of an attempt to the proof's watchers, and counts it for the worker.
    fn tell_of(
        &self,
        proof: &ProofState,
        task: TaskId,
        spec: &TaskSpec,
        attempt: AttemptId,
        worker: WorkerId,
        step: AttemptStep,
    ) {
        let found = self.shared.worker(worker);
        if let Some(found) = &found {
            match &step {
                AttemptStep::Done => _ = found.done.fetch_add(1, Ordering::Relaxed),
                AttemptStep::Failed(_) => _ = found.faults.fetch_add(1, Ordering::Relaxed),
                AttemptStep::Assigned | AttemptStep::Started | AttemptStep::Dropped => {}
            }
        }
        let worker = found.map_or_else(|| worker.to_string(), |worker| worker.name.clone());
        let TaskSpec { kind, cycles, .. } = *spec;
        proof.report(Progress::Attempt(AttemptNews { task, attempt, kind, cycles, worker, step }));
    }

    /// Does the same for an attempt that the scheduler still tracks.
    fn tell_of_live(&self, attempt: AttemptId, step: AttemptStep) {
        let Some(record) = self.attempts.get(&attempt) else { return };
        let Some(TaskRecord { proof, spec, .. }) = self.tasks.get(&record.task) else { return };
        self.tell_of(proof, record.task, spec, attempt, record.worker, step);
    }

    /// Starts the check of the result of `attempt`, on another thread. The verdict arrives as an event.
    fn check_result(&self, attempt: AttemptId) {
        // If the result is no longer needed, the attempt was discarded.
        let Some(record) = self.record_of(attempt) else { return };
        let spec = record.spec.clone();
        self.check_aside(
            record.proof.clone(),
            attempt,
            move |proof| check(proof, &spec, attempt),
            move |verdict| {
                Input::Event(match verdict {
                    Ok(()) => Event::ResultVerified { attempt },
                    Err(reason) => Event::ResultRejected { attempt, reason },
                })
            },
        );
    }

    /// Runs `check` on something that `attempt` delivered for `proof`, on another thread. Then sends the dispatcher the
    /// input that `told` makes from the verdict.
    fn check_aside(
        &self,
        proof: Arc<ProofState>,
        attempt: AttemptId,
        check: impl FnOnce(&ProofHandle) -> Result<(), String> + Send + 'static,
        told: impl FnOnce(Result<(), String>) -> Input + Send + 'static,
    ) {
        let proof = ProofHandle { state: proof, shared: self.shared.clone() };
        let checkers = self.checkers.clone();
        self.checks.spawn(async move {
            let _place = checkers.acquire_owned().await.expect("the semaphore is never closed");
            let (asked, began) = (proof.clone(), Instant::now());
            let verdict = tokio::task::spawn_blocking(move || check(&asked)).await;
            let took = began.elapsed();
            tracing::debug!(proof_id = proof.label(), %attempt, milliseconds = took.as_millis(), "checked");
            // A proof that has ended cannot be checked, which is not the fault of the worker.
            if proof.over().is_cancelled() {
                return;
            }
            let verdict = verdict.unwrap_or_else(|_| Err("the check panicked".to_owned()));
            // With `Verify::Final`, the check of a result only tests whether the result exists, so it is not counted.
            if proof.state.verify == Verify::All {
                proof.shared.counters.on_checked(took, verdict.is_ok());
            }
            if let Err(reason) = &verdict {
                tracing::warn!(proof_id = proof.label(), %attempt, %reason, "output of an attempt was rejected");
            }
            // If the dispatcher has ended, no one needs the verdict.
            let _ = proof.shared.inbox.send(told(verdict)).await;
        });
    }
}

/// Stops the orchestrator when the dispatcher ends. If the dispatcher panicked, fails all proofs, so that no caller
/// waits forever.
struct End {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for proof in self.shared.proofs().values() {
                proof.fail(ProofFailure::Internal("the dispatcher panicked".to_owned()));
            }
        }
        self.stop.cancel();
    }
}

fn check(proof: &ProofHandle, spec: &TaskSpec, attempt: AttemptId) -> Result<(), String> {
    let Some(name) = spec.outputs.first() else { return Ok(()) };
    let stored = proof.shared.store.get(attempt_scope(attempt), name).ok_or("the worker delivered no result")?;
    if proof.state.verify == Verify::Final {
        return Ok(());
    }
    let blob = stored.load().map_err(|error| our_disk(proof, &error))?;
    let output = blob.decode().map_err(|error| error.to_string())?;
    proof.state.check(Checked { proof, spec, output })
}

fn check_marker(proof: &ProofHandle, spec: &TaskSpec, attempt: AttemptId) -> Result<(), String> {
    let result = spec.outputs.first().map(String::as_str);
    let delivered = |name: &str| {
        // The result belongs to the attempt until it is accepted.
        if Some(name) == result {
            return None;
        }
        let stored = proof.shared.store.get(attempt_scope(attempt), name)?;
        stored.load().map_err(|error| our_disk(proof, &error)).ok()
    };
    proof.state.check_marker(CheckedMarker { proof, spec, delivered: &delivered })
}

/// Fails the proof, because a spilled artifact that cannot be read back is the fault of this machine and not of a
/// worker. Returns the error as text.
fn our_disk(proof: &ProofHandle, error: &StoreError) -> String {
    proof.fail(ProofFailure::Host(error.to_string()));
    error.to_string()
}

/// Returns the configuration of the scheduler for these settings.
pub(crate) fn scheduler_config(settings: &Settings) -> scheduler::Config {
    scheduler::Config {
        lease_ttl: settings.silence(),
        max_failures: settings.max_failures,
        max_losses: settings.max_losses,
        placement: settings.placement,
        attempts_before: settings.attempts_before,
        ..scheduler::Config::default()
    }
}
