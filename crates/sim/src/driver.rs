//! Connects the scheduler with the simulated world: the orchestrator's `core.rs` in simplified form.

use crate::{
    coverage::Coverage,
    digest::Digest,
    happening::{Happening, MachineId, ToOrchestrator, ToWorker},
    invariant::{Invariants, Step, Violation},
    net::Net,
    plan::{Plan, Value},
};
use scheduler::{AttemptId, Command, Config, Event, Failure, ProofId, Scheduler, TaskId, Timestamp, WorkerId};
use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

/// How a proof ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Complete,
    Failed,
    Cancelled,
}

/// Deliberate errors in the driver, to test that the invariants detect them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sabotage {
    /// Every result passes verification.
    pub(crate) blind: bool,
    /// Valid results never get a verdict.
    pub(crate) mute: bool,
}

struct Session {
    machine: MachineId,
    open: bool,
    /// The connection broke, and all messages in flight are lost.
    cut: bool,
    draining: bool,
}

struct Record {
    task: TaskId,
    worker: WorkerId,
    /// The attempt has reported its result. Only its first report counts.
    reported: bool,
}

struct ProofState {
    /// For each reduce or wrap task: how many of its inputs are missing.
    missing: BTreeMap<TaskId, usize>,
    open_tasks: usize,
}

pub(crate) struct Driver {
    pub(crate) scheduler: Scheduler,
    pub(crate) coverage: Coverage,
    pub(crate) digest: Digest,
    pub(crate) steps: u64,
    pub(crate) frozen_until: Timestamp,
    pub(crate) outcomes: BTreeMap<ProofId, Outcome>,
    config: Config,
    sabotage: Sabotage,
    invariants: Invariants,
    /// All sessions, including ended ones.
    sessions: BTreeMap<WorkerId, Session>,
    /// Attempts that the scheduler has neither discarded nor accepted.
    attempts: BTreeMap<AttemptId, Record>,
    /// The results of reported attempts. `None`: the attempt reported a result but delivered nothing.
    delivered: BTreeMap<AttemptId, Option<Value>>,
    /// Proofs that have started and not ended.
    proofs: BTreeMap<ProofId, ProofState>,
    /// The time of the latest tick, and how many earlier ticks had the same time.
    ticks_at: (Timestamp, u32),
}

/// Maximum number of ticks at the same time. A scheduler that requests more would loop forever.
const MOST_TICKS_AT_ONCE: u32 = 1000;

impl Driver {
    pub(crate) fn new(config: Config, invariants: Invariants, sabotage: Sabotage) -> Self {
        Self {
            scheduler: Scheduler::new(config),
            coverage: Coverage::default(),
            digest: Digest::default(),
            steps: 0,
            frozen_until: Timestamp::default(),
            outcomes: BTreeMap::new(),
            config,
            sabotage,
            invariants,
            sessions: BTreeMap::new(),
            attempts: BTreeMap::new(),
            delivered: BTreeMap::new(),
            proofs: BTreeMap::new(),
            ticks_at: (Timestamp::default(), 0),
        }
    }

    /// When the scheduler must be called even if no event occurs.
    pub(crate) fn next_tick(&self) -> Option<Timestamp> {
        self.scheduler.next_deadline().map(|at| at.max(self.frozen_until))
    }

    pub(crate) fn tick(&mut self, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let (at, times) = self.ticks_at;
        self.ticks_at = (net.now, if at == net.now { times + 1 } else { 0 });
        if self.ticks_at.1 > MOST_TICKS_AT_ONCE {
            let what = format!("it requested more than {MOST_TICKS_AT_ONCE} ticks at the same time");
            return Err(Violation::new("the scheduler comes to rest", what));
        }
        self.decide(Event::Tick, plan, net)
    }

    /// Returns true if every proof of the plan has ended.
    pub(crate) fn is_over(&self, plan: &Plan) -> bool {
        self.proofs.is_empty() && self.outcomes.len() == plan.proofs.len()
    }

    /// Starts a session on a connection to `machine`.
    pub(crate) fn open(&mut self, machine: MachineId) -> WorkerId {
        let session = WorkerId(self.sessions.len() as u64 + 1);
        self.sessions.insert(session, Session { machine, open: true, cut: false, draining: false });
        session
    }

    /// Loses all messages of `session` that are in flight.
    pub(crate) fn cut(&mut self, session: WorkerId) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.cut = true;
        }
    }

    /// Handles a message of a worker. The message may belong to an ended session.
    pub(crate) fn hear(
        &mut self,
        worker: WorkerId,
        message: ToOrchestrator,
        plan: &Plan,
        net: &mut Net,
    ) -> Result<(), Violation> {
        let Some(session) = self.sessions.get_mut(&worker) else { return Ok(()) };
        let machine = session.machine;
        let ends_anything = message == ToOrchestrator::Closed;
        if session.cut && !ends_anything {
            return Ok(());
        }
        if !session.open {
            // A session may have passed on some messages before it ended. Those arrive late; the others are lost.
            let may_be_late = !matches!(message, ToOrchestrator::Join { .. } | ToOrchestrator::Heartbeat);
            if !may_be_late || ends_anything || net.dice.chance(500) {
                return Ok(());
            }
        }
        match message {
            ToOrchestrator::Join { peer, memory, slots, kinds, holds } => {
                let (memory_bytes, begun) = (memory, self.begun_before(plan, net));
                self.decide(Event::WorkerJoined { worker, peer, memory_bytes, slots, kinds, holds, begun }, plan, net)
            }
            ToOrchestrator::Heartbeat => self.decide(Event::LeasesRenewed { worker }, plan, net),
            ToOrchestrator::Started(attempt) => self.decide(Event::AttemptStarted { worker, attempt }, plan, net),
            ToOrchestrator::Marker(attempt) => self.decide(Event::MarkerReported { worker, attempt }, plan, net),
            ToOrchestrator::Reported { attempt, value } => {
                net.tell(machine, worker, ToWorker::Received(attempt));
                self.on_reported(worker, attempt, value, plan, net)
            }
            ToOrchestrator::Failed { attempt, text } => {
                net.tell(machine, worker, ToWorker::Received(attempt));
                let failure = Failure::Worker(text.to_owned());
                self.decide(Event::AttemptFailed { worker, attempt, failure }, plan, net)
            }
            ToOrchestrator::OutOfMemory(attempt) => {
                net.tell(machine, worker, ToWorker::Received(attempt));
                let failure = Failure::OutOfMemory("too large".to_owned());
                self.decide(Event::AttemptFailed { worker, attempt, failure }, plan, net)
            }
            ToOrchestrator::Unready => self.decide(Event::WorkerUnready { worker }, plan, net),
            ToOrchestrator::Ready => self.decide(Event::WorkerReady { worker }, plan, net),
            ToOrchestrator::Closed => {
                session.open = false;
                self.decide(Event::WorkerLost { worker }, plan, net)
            }
        }
    }

    fn on_reported(
        &mut self,
        worker: WorkerId,
        attempt: AttemptId,
        value: Option<Value>,
        plan: &Plan,
        net: &mut Net,
    ) -> Result<(), Violation> {
        let event = Event::AttemptReported { worker, attempt };
        let Some(record) = self.attempts.get_mut(&attempt) else {
            // This attempt is no longer known here, but the scheduler may still receive its report.
            return self.decide(event, plan, net);
        };
        // Only the first report counts, and only if it comes from the worker that holds the attempt.
        if record.worker != worker || record.reported {
            return Ok(());
        }
        record.reported = true;
        let task = record.task;
        self.delivered.insert(attempt, value);
        self.decide(event, plan, net)?;
        if self.attempts.contains_key(&attempt) {
            let right = value == Some(Value::of(task));
            if !right {
                self.coverage.mark(if value.is_some() { "wrong result delivered" } else { "no result delivered" });
            }
            let takes = net.dice.ms(20..=400);
            net.after(takes, Happening::Verdict { attempt, good: right || self.sabotage.blind });
        }
        Ok(())
    }

    pub(crate) fn on_verdict(
        &mut self,
        attempt: AttemptId,
        good: bool,
        plan: &Plan,
        net: &mut Net,
    ) -> Result<(), Violation> {
        if good && self.sabotage.mute {
            return Ok(());
        }
        let event = if good {
            Event::ResultVerified { attempt }
        } else {
            Event::ResultRejected { attempt, reason: "the result is wrong".to_owned() }
        };
        self.decide(event, plan, net)
    }

    pub(crate) fn begin(&mut self, proof: ProofId, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let entry = &plan.proofs[&proof];
        let folds = entry.tasks.iter().map(|task| (*task, plan.tasks[task].inputs)).filter(|(_, inputs)| *inputs > 0);
        self.proofs.insert(proof, ProofState { missing: folds.collect(), open_tasks: entry.tasks.len() });
        for (after, task) in &entry.shards {
            net.after(*after, Happening::Submit(*task));
        }
        if let Some(after) = entry.cancelled {
            net.after(after, Happening::ProofCancelled(proof));
        }
        self.decide(Event::ProofStarted { proof }, plan, net)
    }

    pub(crate) fn submit(&mut self, task: TaskId, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let entry = plan.tasks[&task];
        let proof = entry.proof;
        // The controller may not know yet that the proof has ended.
        if self.outcomes.contains_key(&proof) && net.dice.chance(500) {
            return Ok(());
        }
        // Some markers are not submitted before their task. The scheduler then learns the marker from the task.
        if let Some(marker) = entry.marker.filter(|_| net.dice.chance(900)) {
            self.decide(Event::MarkerSubmitted { proof, task: marker }, plan, net)?;
        }
        // The session may have ended.
        let begun_on = if net.dice.chance(50) && !self.sessions.is_empty() {
            self.sessions.keys().nth(net.dice.index(self.sessions.len()))
        } else {
            None
        };
        let (kind, marker, begun_on) = (entry.kind, entry.marker, begun_on.copied());
        self.decide(Event::TaskSubmitted { proof, task, kind, marker, begun_on }, plan, net)
    }

    /// Tasks that a joining worker claims to have started for an earlier orchestrator: up to three, in any state.
    fn begun_before(&self, plan: &Plan, net: &mut Net) -> Vec<TaskId> {
        let count = if net.dice.chance(300) { net.dice.index(3) + 1 } else { 0 };
        let mut pick = || plan.tasks.keys().nth(net.dice.index(plan.tasks.len())).copied();
        (0..count).filter_map(|_| pick()).collect()
    }

    pub(crate) fn cancel(&mut self, proof: ProofId, net: &mut Net) {
        if self.proofs.contains_key(&proof) {
            self.end_soon(proof, Outcome::Cancelled, 500, net);
        }
    }

    /// Ends `proof` with `outcome` after a short delay, unless its outcome is already set.
    fn end_soon(&mut self, proof: ProofId, outcome: Outcome, longest_ms: u64, net: &mut Net) {
        if let Entry::Vacant(entry) = self.outcomes.entry(proof) {
            entry.insert(outcome);
            let delay = net.dice.ms(10..=longest_ms);
            net.after(delay, Happening::ProofOver(proof));
        }
    }

    pub(crate) fn end(&mut self, proof: ProofId, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        self.decide(Event::ProofEnded { proof }, plan, net)?;
        self.proofs.remove(&proof);
        Ok(())
    }

    /// An operator drains `worker` for a while. Returns false if the session is not open.
    pub(crate) fn drain(&mut self, worker: WorkerId, plan: &Plan, net: &mut Net) -> Result<bool, Violation> {
        let Some(session) = self.sessions.get_mut(&worker).filter(|session| session.open) else { return Ok(false) };
        session.draining = true;
        self.decide(Event::WorkerDraining { worker }, plan, net)?;
        Ok(true)
    }

    pub(crate) fn resume(&mut self, worker: WorkerId, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        match self.sessions.get_mut(&worker) {
            Some(session) if session.draining => session.draining = false,
            _ => return Ok(()),
        }
        self.decide(Event::WorkerResumed { worker }, plan, net)
    }

    pub(crate) fn resume_all(&mut self, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let draining = self.sessions.iter().filter(|(_, session)| session.draining).map(|(worker, _)| *worker);
        draining.collect::<Vec<_>>().into_iter().try_for_each(|worker| self.resume(worker, plan, net))
    }

    /// Returns one of the 50 newest attempts, so that a worker can make false claims about it.
    pub(crate) fn any_attempt(&self, net: &mut Net) -> Option<AttemptId> {
        let newest = self.attempts.len().min(50);
        if newest == 0 {
            return None;
        }
        self.attempts.keys().rev().nth(net.dice.index(newest)).copied()
    }

    /// Passes `event` to the scheduler and carries out the commands. The event may be repeated later.
    pub(crate) fn decide(&mut self, event: Event, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        net.perhaps_again(&event);
        self.decide_once(event, plan, net)
    }

    pub(crate) fn decide_once(&mut self, event: Event, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let mut commands: VecDeque<Command> = self.step(event, plan, net)?.into();
        while let Some(command) = commands.pop_front() {
            // Carrying out a command can reveal that a worker is gone, which is a further event.
            if let Some(follow_up) = self.carry_out(command, plan, net) {
                commands.extend(self.step(follow_up, plan, net)?);
            }
        }
        Ok(())
    }

    fn step(&mut self, event: Event, plan: &Plan, net: &mut Net) -> Result<Vec<Command>, Violation> {
        let commands = self.scheduler.handle(net.now, event.clone());
        self.steps += 1;
        let step = Step {
            now: net.now,
            event: &event,
            commands: &commands,
            scheduler: &self.scheduler,
            config: &self.config,
            plan,
            delivered: &self.delivered,
            outcomes: &self.outcomes,
        };
        if !step.is_quiet() {
            self.digest.add(&step);
            net.note(|| step.to_string());
        }
        self.coverage.observe(&step);
        self.invariants.check(&step)?;
        Ok(commands)
    }

    fn carry_out(&mut self, command: Command, plan: &Plan, net: &mut Net) -> Option<Event> {
        match command {
            Command::Assign { worker, attempt, task, .. } => {
                self.attempts.insert(attempt, Record { task, worker, reported: false });
                return self.tell(worker, ToWorker::Assign { attempt, task }, net);
            }
            Command::Cancel { worker, attempt } => return self.tell(worker, ToWorker::Cancel(attempt), net),
            Command::Adopt { worker, attempt } => {
                if let Some(record) = self.attempts.get_mut(&attempt) {
                    record.worker = worker;
                }
                return self.tell(worker, ToWorker::Adopted(attempt), net);
            }
            Command::AcceptResult { proof, task, attempt, .. } => self.accept(proof, task, attempt, plan, net),
            Command::Discard { attempt } => {
                self.attempts.remove(&attempt);
                self.delivered.remove(&attempt);
            }
            Command::FailProof { proof, .. } => self.end_soon(proof, Outcome::Failed, 2000, net),
            Command::ExpireWorker { worker } => {
                let session = self.sessions.get_mut(&worker)?;
                session.open = false;
                let machine = session.machine;
                if net.link(machine).connected == Some(worker) {
                    net.tell(machine, worker, ToWorker::Close);
                }
            }
            Command::CompleteMarker { .. }
            | Command::Quarantine { .. }
            | Command::Probation { .. }
            | Command::WorkerDrained { .. } => {}
        }
        None
    }

    /// Sends `message` to a session. Returns `WorkerLost` if its connection turns out to be closed.
    fn tell(&mut self, worker: WorkerId, message: ToWorker, net: &mut Net) -> Option<Event> {
        let session = self.sessions.get_mut(&worker).filter(|session| session.open)?;
        let machine = session.machine;
        if net.link(machine).connected != Some(worker) && net.dice.chance(300) {
            session.open = false;
            self.coverage.mark("worker found disconnected");
            return Some(Event::WorkerLost { worker });
        }
        net.tell(machine, worker, message);
        None
    }

    fn accept(&mut self, proof: ProofId, task: TaskId, attempt: AttemptId, plan: &Plan, net: &mut Net) {
        self.attempts.remove(&attempt);
        self.delivered.remove(&attempt);
        let Some(state) = self.proofs.get_mut(&proof) else { return };
        state.open_tasks = state.open_tasks.saturating_sub(1);
        if let Some(parent) = plan.tasks[&task].parent
            && let Some(missing) = state.missing.get_mut(&parent)
        {
            *missing = missing.saturating_sub(1);
            if *missing == 0 {
                state.missing.remove(&parent);
                let delay = net.dice.ms(1..=50);
                net.after(delay, Happening::Submit(parent));
            }
        }
        if state.open_tasks == 0 {
            self.end_soon(proof, Outcome::Complete, 300, net);
        }
    }

    /// Checks what must be true when the world has ended.
    pub(crate) fn finish(&mut self, plan: &Plan, net: &Net) -> Result<(), Violation> {
        let step = Step {
            now: net.now,
            event: &Event::Tick,
            commands: &[],
            scheduler: &self.scheduler,
            config: &self.config,
            plan,
            delivered: &self.delivered,
            outcomes: &self.outcomes,
        };
        self.invariants.check_end(&step)?;
        if let Some((attempt, record)) = self.attempts.first_key_value() {
            let what = format!("{attempt} of {} was neither accepted nor discarded", record.task);
            return Err(Violation::new("no attempt is left when the world ends", what));
        }
        Ok(())
    }
}
