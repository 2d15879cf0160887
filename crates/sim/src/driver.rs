//! What the orchestrator does with the scheduler: its `core.rs`, in small.

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

/// Ways of doing it badly, to see that somebody notices.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sabotage {
    /// Every result counts as right.
    pub(crate) blind: bool,
    /// Nobody says that a result is right.
    pub(crate) mute: bool,
}

struct Session {
    machine: MachineId,
    open: bool,
    /// The connection broke, and what was on its way is lost.
    cut: bool,
    draining: bool,
}

struct Record {
    task: TaskId,
    worker: WorkerId,
    /// It delivered its result, which is checked once.
    reported: bool,
}

struct ProofState {
    /// For each fold, how many of its inputs are missing.
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
    /// By session; also those that are over.
    sessions: BTreeMap<WorkerId, Session>,
    /// Attempts the scheduler has neither discarded nor accepted.
    attempts: BTreeMap<AttemptId, Record>,
    /// What they have delivered; nothing when they said that they had and hadn't.
    delivered: BTreeMap<AttemptId, Option<Value>>,
    /// Proofs that began and are not over.
    proofs: BTreeMap<ProofId, ProofState>,
    /// Ticks at one and the same time.
    ticks_at: (Timestamp, u32),
}

/// A scheduler that wants to be called again at once for so often never rests.
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

    /// When it must be called with nothing but the time.
    pub(crate) fn next_tick(&self) -> Option<Timestamp> {
        self.scheduler.next_deadline().map(|at| at.max(self.frozen_until))
    }

    pub(crate) fn tick(&mut self, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let (at, times) = self.ticks_at;
        self.ticks_at = (net.now, if at == net.now { times + 1 } else { 0 });
        if self.ticks_at.1 > MOST_TICKS_AT_ONCE {
            return Err(Violation::new("the scheduler rests", "it wants to be called at once, again and again"));
        }
        self.decide(Event::Tick, plan, net)
    }

    /// Every proof of the plan is over.
    pub(crate) fn is_over(&self, plan: &Plan) -> bool {
        self.proofs.is_empty() && self.outcomes.len() == plan.proofs.len()
    }

    /// A connection to `machine` begins a session.
    pub(crate) fn open(&mut self, machine: MachineId) -> WorkerId {
        let session = WorkerId(self.sessions.len() as u64 + 1);
        self.sessions.insert(session, Session { machine, open: true, cut: false, draining: false });
        session
    }

    /// What is on its way from `session` is lost.
    pub(crate) fn cut(&mut self, session: WorkerId) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.cut = true;
        }
    }

    /// Words of a worker, perhaps of a session that is over.
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
            // What a session has handed on already when it ends comes late; the rest is lost with it.
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
            // Nothing is kept of it, which the scheduler may be told.
            return self.decide(event, plan, net);
        };
        // Only the worker that has it, and only once.
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
                self.coverage.mark(if value.is_some() { "wrong result delivered" } else { "nothing delivered" });
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
            Event::ResultRejected { attempt, reason: "it is not what was asked for".to_owned() }
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
        // The controller may not know yet that it is over.
        if self.outcomes.contains_key(&proof) && net.dice.chance(500) {
            return Ok(());
        }
        // A marker that is named by its task alone is known too.
        if let Some(marker) = entry.marker.filter(|_| net.dice.chance(900)) {
            self.decide(Event::MarkerSubmitted { proof, task: marker }, plan, net)?;
        }
        // Perhaps one that is gone.
        let begun_on = if net.dice.chance(50) && !self.sessions.is_empty() {
            self.sessions.keys().nth(net.dice.index(self.sessions.len()))
        } else {
            None
        };
        let (kind, marker, begun_on) = (entry.kind, entry.marker, begun_on.copied());
        self.decide(Event::TaskSubmitted { proof, task, kind, marker, begun_on }, plan, net)
    }

    /// What a worker that joins says that it began before this orchestrator was there: a few tasks, whatever became of
    /// them.
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

    /// `proof` is going to be over, unless it is going to anyway.
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

    /// An operator has `worker` drained for a while; false when it isn't there.
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

    /// One of the newest attempts, for somebody to speak for.
    pub(crate) fn any_attempt(&self, net: &mut Net) -> Option<AttemptId> {
        let newest = self.attempts.len().min(50);
        if newest == 0 {
            return None;
        }
        self.attempts.keys().rev().nth(net.dice.index(newest)).copied()
    }

    /// Tells the scheduler of `event` and carries out what it asks for.
    pub(crate) fn decide(&mut self, event: Event, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        net.perhaps_again(&event);
        self.decide_once(event, plan, net)
    }

    pub(crate) fn decide_once(&mut self, event: Event, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let mut commands: VecDeque<Command> = self.step(event, plan, net)?.into();
        while let Some(command) = commands.pop_front() {
            // Carrying out a command can show that a worker is gone, which is an event of its own.
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

    /// Hands `message` to a session; one whose connection turns out to be closed is lost.
    fn tell(&mut self, worker: WorkerId, message: ToWorker, net: &mut Net) -> Option<Event> {
        let session = self.sessions.get_mut(&worker).filter(|session| session.open)?;
        let machine = session.machine;
        if net.link(machine).connected != Some(worker) && net.dice.chance(300) {
            session.open = false;
            self.coverage.mark("worker found gone");
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

    /// Nothing happens any more: what must be true then.
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
            return Err(Violation::new("nothing is left", what));
        }
        Ok(())
    }
}
