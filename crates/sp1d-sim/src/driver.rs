//! Connects the dispatch state machine with the simulated world. Like the orchestrator's dispatcher, it makes no
//! decisions: it passes on what happens, and it carries out commands.

use crate::{
    cluster::{Net, ToOrchestrator, ToWorker, WorldEvent},
    invariant::{Invariants, SimOutcome, SimStep, TheDispatchAgrees, Violation, WatchersSeeEveryEnd},
    observe::{Coverage, DispatchStep, RunDigest},
    scenario::{Claims, LAST_ATTEMPT_BEFORE_RESTART, MachineId, Plan, UploadedClaims, Value, earlier_claims},
};
use sp1d_scheduler::{
    AttemptId, DispatchCommand, DispatchEvent, DispatchState, Event, FailureKind, ResultKey, ResumableAttempt,
    SchedulerConfig, SessionId, ShareGroup, TaskId, Timestamp, TryId,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    time::Duration,
};

/// Deliberate errors in the driver, to test that the invariants detect them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sabotage {
    /// Every result passes verification.
    pub(crate) blind: bool,
    /// The check of a valid result never ends.
    pub(crate) mute: bool,
    /// All claims pass their check and look the same.
    pub(crate) trusting: bool,
}

struct SimSession {
    machine: MachineId,
    open: bool,
    /// The connection broke, and all messages in flight are lost.
    loses_messages: bool,
    draining: bool,
}

/// An attempt that may deliver something: it was given to a worker, and was neither accepted nor discarded.
struct SimAttempt {
    task: TaskId,
    session: SessionId,
    /// It may continue an attempt from before the orchestrator restarted, whose artifacts it then reuses.
    resumes: Option<AttemptId>,
}

struct SimTry {
    /// For each reduce or wrap task: how many of its inputs are missing.
    missing: BTreeMap<TaskId, usize>,
    open_tasks: usize,
}

pub(crate) struct Driver {
    dispatch: DispatchState,
    pub(crate) coverage: Coverage,
    pub(crate) digest: RunDigest,
    pub(crate) steps: u64,
    pub(crate) frozen_until: Timestamp,
    pub(crate) outcomes: BTreeMap<TryId, SimOutcome>,
    config: SchedulerConfig,
    sabotage: Sabotage,
    invariants: Invariants,
    dispatch_agrees: TheDispatchAgrees,
    published: WatchersSeeEveryEnd,
    /// All sessions, including ended ones.
    sessions: BTreeMap<SessionId, SimSession>,
    attempts: BTreeMap<AttemptId, SimAttempt>,
    /// The results of reported attempts. `None`: the attempt reported a result but delivered nothing.
    delivered: BTreeMap<AttemptId, Option<Value>>,
    /// The claims that attempts delivered for their markers.
    claims: UploadedClaims,
    /// Sessions for whose drain the operator waits.
    drains: BTreeSet<SessionId>,
    /// Tries that have started and not ended.
    tries: BTreeMap<TryId, SimTry>,
    /// The time of the latest tick, and how many earlier ticks had the same time.
    ticks_at: (Timestamp, u32),
}

/// Maximum number of ticks at the same time. A scheduler that requests more would loop forever.
const MAX_TICKS_AT_ONCE: u32 = 1000;

/// Returns the key of a task's result. Two tasks share each key, because tasks of different proofs may be the same.
fn key_of(task: TaskId) -> ResultKey {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(task.0 / 2).to_be_bytes());
    ResultKey(key)
}

impl Driver {
    pub(crate) fn new(config: SchedulerConfig, invariants: Invariants, sabotage: Sabotage) -> Self {
        Self {
            dispatch: DispatchState::new(config),
            coverage: Coverage::default(),
            digest: RunDigest::default(),
            steps: 0,
            frozen_until: Timestamp::default(),
            outcomes: BTreeMap::new(),
            config,
            sabotage,
            invariants,
            dispatch_agrees: TheDispatchAgrees::default(),
            published: WatchersSeeEveryEnd::default(),
            sessions: BTreeMap::new(),
            attempts: BTreeMap::new(),
            delivered: BTreeMap::new(),
            claims: UploadedClaims::new(),
            drains: BTreeSet::new(),
            tries: BTreeMap::new(),
            ticks_at: (Timestamp::default(), 0),
        }
    }

    /// When the dispatch state machine must be called even if no event occurs.
    pub(crate) fn next_tick(&self) -> Option<Timestamp> {
        self.dispatch.next_deadline().map(|at| at.max(self.frozen_until))
    }

    pub(crate) fn tick(&mut self, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let (at, times) = self.ticks_at;
        self.ticks_at = (net.now, if at == net.now { times + 1 } else { 0 });
        if self.ticks_at.1 > MAX_TICKS_AT_ONCE {
            let what = format!("it requested more than {MAX_TICKS_AT_ONCE} ticks at the same time");
            return Err(Violation::new("the scheduler comes to rest", what));
        }
        self.pass_on(DispatchEvent::Tick, plan, net)
    }

    /// Returns true if every proof of the plan has ended.
    pub(crate) fn is_over(&self, plan: &Plan) -> bool {
        self.tries.is_empty() && self.outcomes.len() == plan.tries.len()
    }

    /// Starts a session on a connection to `machine`.
    pub(crate) fn open(&mut self, machine: MachineId) -> SessionId {
        let session = SessionId(self.sessions.len() as u64 + 1);
        self.sessions.insert(session, SimSession { machine, open: true, loses_messages: false, draining: false });
        session
    }

    /// Loses all messages of `session` that are in flight.
    pub(crate) fn lose_messages(&mut self, session: SessionId) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.loses_messages = true;
        }
    }

    /// Handles a message of a worker. The message may belong to an ended session.
    pub(crate) fn hear(
        &mut self,
        session: SessionId,
        message: ToOrchestrator,
        plan: &Plan,
        net: &mut Net,
    ) -> Result<(), Violation> {
        let Some(entry) = self.sessions.get_mut(&session) else { return Ok(()) };
        let machine = entry.machine;
        let ends_anything = message == ToOrchestrator::Closed;
        if entry.loses_messages && !ends_anything {
            return Ok(());
        }
        if !entry.open {
            // A session may have passed on some messages before it ended. Those arrive late; the others are lost.
            let may_be_late = !matches!(message, ToOrchestrator::Connected(_) | ToOrchestrator::Heartbeat);
            if !may_be_late || ends_anything || net.dice.chance(500) {
                return Ok(());
            }
        }
        let event = match message {
            ToOrchestrator::Connected(ready) => {
                let resumable_attempts = Self::resumable_before(plan, net);
                DispatchEvent::WorkerReady { session, ready, resumable_attempts }
            }
            ToOrchestrator::Heartbeat => DispatchEvent::LeaseRenewed { session },
            ToOrchestrator::Started(attempt) => DispatchEvent::AttemptStarted { session, attempt },
            ToOrchestrator::Marker { attempt, claims } => {
                if let Some(claims) = claims.filter(|_| self.may_deliver(session, attempt)) {
                    // An artifact that was uploaded does not change.
                    self.claims.entry(attempt).or_insert(claims);
                }
                let has_list = self.claims.contains_key(&attempt);
                DispatchEvent::DeferredEventsUploaded { session, attempt, has_list }
            }
            ToOrchestrator::Reported { attempt, value } => {
                net.tell(machine, session, ToWorker::Received(attempt));
                if self.may_deliver(session, attempt) {
                    let known = self.delivered.entry(attempt).or_default();
                    *known = known.or(value);
                }
                DispatchEvent::ResultDelivered { session, attempt }
            }
            ToOrchestrator::Failed { attempt, kind, text } => {
                net.tell(machine, session, ToWorker::Received(attempt));
                DispatchEvent::AttemptFailed { session, attempt, kind, text: text.to_owned() }
            }
            ToOrchestrator::OutOfMemory(attempt) => {
                net.tell(machine, session, ToWorker::Received(attempt));
                let (kind, text) = (FailureKind::OutOfMemory, "too large".to_owned());
                DispatchEvent::AttemptFailed { session, attempt, kind, text }
            }
            ToOrchestrator::Unready => DispatchEvent::LastProverLost { session },
            ToOrchestrator::Ready => DispatchEvent::FirstProverReady { session },
            ToOrchestrator::Closed => {
                entry.open = false;
                DispatchEvent::SessionEnded { session }
            }
        };
        self.pass_on(event, plan, net)
    }

    /// Returns true if `session` may deliver artifacts of `attempt`.
    fn may_deliver(&self, session: SessionId, attempt: AttemptId) -> bool {
        self.attempts.get(&attempt).is_some_and(|given| given.session == session)
    }

    pub(crate) fn on_result_checked(
        &mut self,
        attempt: AttemptId,
        good: bool,
        plan: &Plan,
        net: &mut Net,
    ) -> Result<(), Violation> {
        if good && self.sabotage.mute {
            return Ok(());
        }
        let outcome = if good { Ok(()) } else { Err("the result is wrong".to_owned()) };
        self.pass_on(DispatchEvent::ResultChecked { attempt, outcome }, plan, net)
    }

    pub(crate) fn on_check_delayed(&mut self, attempt: AttemptId, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        self.pass_on(DispatchEvent::CheckDelayed { attempt }, plan, net)
    }

    pub(crate) fn on_deferred_events_checked(
        &mut self,
        attempt: AttemptId,
        task: TaskId,
        plan: &Plan,
        net: &mut Net,
    ) -> Result<(), Violation> {
        // If the attempt was forgotten while its uploads were checked, the outcome must not matter.
        let claims = self.claims.get(&attempt).copied().unwrap_or(Claims::of(task));
        let resumes = self.attempts.get(&attempt).is_some_and(|given| given.resumes.is_some());
        let outcome = if claims.is_malformed() && !self.sabotage.trusting {
            Err("the claims are malformed".to_owned())
        } else {
            // A worker that says that it resumes an attempt may use the names of another attempt.
            let has_name_conflict = resumes && net.dice.chance(100);
            let seen = if self.sabotage.trusting { Claims::of(task) } else { claims };
            Ok(seen.to_deferred(task, has_name_conflict))
        };
        self.pass_on(DispatchEvent::DeferredEventsChecked { attempt, outcome }, plan, net)
    }

    pub(crate) fn start_try(&mut self, try_id: TryId, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let entry = &plan.tries[&try_id];
        let folds = entry.tasks.iter().map(|task| (*task, plan.tasks[task].inputs)).filter(|(_, inputs)| *inputs > 0);
        self.tries.insert(try_id, SimTry { missing: folds.collect(), open_tasks: entry.tasks.len() });
        for (after, task) in &entry.shards {
            net.after(*after, WorldEvent::Submit(*task));
        }
        if let Some(after) = entry.cancelled {
            net.after(after, WorldEvent::TryCancelled(try_id));
        }
        let claims = earlier_claims(try_id, plan, &mut net.dice);
        // Three groups, one of which is the common one.
        let (group, trusted_only) = (ShareGroup(try_id.0 % 3), entry.trusted_only);
        self.pass_on(DispatchEvent::TryStarted { try_id, group, claims, trusted_only }, plan, net)
    }

    pub(crate) fn submit(&mut self, task: TaskId, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let entry = plan.tasks[&task];
        let try_id = entry.try_id;
        // The runner may not know yet that the proof has ended.
        if self.outcomes.contains_key(&try_id) && net.dice.chance(500) {
            return Ok(());
        }
        // Some markers are not submitted before their task. The scheduler then learns the marker from the task.
        if let Some(marker) = entry.marker.filter(|_| net.dice.chance(900)) {
            self.pass_on(DispatchEvent::MarkerSubmitted { try_id, marker }, plan, net)?;
        }
        let (kind, marker) = (entry.kind, entry.marker);
        // Results of some tasks are not cached, so no worker can resume them.
        let key = if net.dice.chance(900) { Some(key_of(task)) } else { None };
        self.pass_on(DispatchEvent::TaskSubmitted { try_id, task, kind, marker, key }, plan, net)
    }

    /// Attempts from before a restart of the orchestrator that a new worker can resume: up to three, of tasks in
    /// any state.
    fn resumable_before(plan: &Plan, net: &mut Net) -> Vec<ResumableAttempt> {
        let count = if net.dice.chance(300) { net.dice.index(3) + 1 } else { 0 };
        let mut pick = || {
            let task = plan.tasks.keys().nth(net.dice.index(plan.tasks.len()))?;
            Some(ResumableAttempt {
                key: key_of(*task),
                attempt: AttemptId(net.dice.number(1..=LAST_ATTEMPT_BEFORE_RESTART)),
            })
        };
        (0..count).filter_map(|_| pick()).collect()
    }

    pub(crate) fn cancel(&mut self, try_id: TryId, net: &mut Net) {
        if self.tries.contains_key(&try_id) {
            self.end_soon(try_id, SimOutcome::Cancelled, 500, net);
        }
    }

    /// Ends `try_id` with `outcome` after a short delay, unless its outcome is already set.
    fn end_soon(&mut self, try_id: TryId, outcome: SimOutcome, max_ms: u64, net: &mut Net) {
        if let Entry::Vacant(entry) = self.outcomes.entry(try_id) {
            entry.insert(outcome);
            let delay = net.dice.ms(10..=max_ms);
            net.after(delay, WorldEvent::TryOver(try_id));
        }
    }

    pub(crate) fn end(&mut self, try_id: TryId, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        self.pass_on(DispatchEvent::TryEnded { try_id }, plan, net)?;
        self.tries.remove(&try_id);
        Ok(())
    }

    /// An operator drains `session` for a while. Returns false if the session is not open.
    pub(crate) fn drain(&mut self, session: SessionId, plan: &Plan, net: &mut Net) -> Result<bool, Violation> {
        let Some(entry) = self.sessions.get_mut(&session).filter(|entry| entry.open) else { return Ok(false) };
        entry.draining = true;
        self.drains.insert(session);
        self.pass_on(DispatchEvent::DrainRequested { session, is_connected: true }, plan, net)?;
        Ok(true)
    }

    pub(crate) fn resume(&mut self, session: SessionId, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        match self.sessions.get_mut(&session) {
            Some(entry) if entry.draining => entry.draining = false,
            _ => return Ok(()),
        }
        self.pass_on(DispatchEvent::DrainCancelled { session }, plan, net)
    }

    pub(crate) fn resume_all(&mut self, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let draining = self.sessions.iter().filter(|(_, entry)| entry.draining).map(|(session, _)| *session);
        draining.collect::<Vec<_>>().into_iter().try_for_each(|session| self.resume(session, plan, net))
    }

    /// Returns one of the 50 newest attempts, so that a worker can make false claims about it.
    pub(crate) fn any_attempt(&self, net: &mut Net) -> Option<AttemptId> {
        let newest = self.attempts.len().min(50);
        if newest == 0 {
            return None;
        }
        self.attempts.keys().rev().nth(net.dice.index(newest)).copied()
    }

    /// Passes `event` to the dispatch state machine and carries out the commands. The event may be repeated later.
    fn pass_on(&mut self, event: DispatchEvent, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        net.perhaps_again(&event);
        self.report_once(event, plan, net)
    }

    pub(crate) fn report_once(&mut self, event: DispatchEvent, plan: &Plan, net: &mut Net) -> Result<(), Violation> {
        let mut commands: VecDeque<DispatchCommand> = self.handle(event, plan, net)?.into();
        while let Some(command) = commands.pop_front() {
            // Carrying out a command can lead to a further event, for example if it shows that a worker is gone.
            if let Some(follow_up) = self.carry_out(command, plan, net) {
                commands.extend(self.handle(follow_up, plan, net)?);
            }
        }
        Ok(())
    }

    /// Returns false if `event` brings the claims of a worker, and no worker of another origin is available.
    fn has_independent_worker(&self, event: &DispatchEvent) -> bool {
        let DispatchEvent::DeferredEventsChecked { attempt, .. } = event else { return true };
        !self.attempts.contains_key(attempt) || self.dispatch.scheduler().has_independent_worker_for(*attempt)
    }

    /// Passes `event` to the dispatch state machine and checks each step of the scheduler.
    fn handle(&mut self, event: DispatchEvent, plan: &Plan, net: &mut Net) -> Result<Vec<DispatchCommand>, Violation> {
        let has_independent_worker = self.has_independent_worker(&event);
        let Self { dispatch, coverage, digest, steps, invariants, attempts, .. } = self;
        let (delivered, claims, outcomes, config) = (&self.delivered, &self.claims, &self.outcomes, &self.config);
        if !matches!(event, DispatchEvent::LeaseRenewed { .. } | DispatchEvent::Tick) {
            net.note(|| event.to_string());
        }
        let (now, mut checked, mut reached) = (net.now, Ok(()), false);
        let commands = dispatch.handle_observed(now, event.clone(), &mut |scheduler, event, commands| {
            *steps += 1;
            reached = true;
            let step = SimStep {
                now,
                event,
                commands,
                scheduler,
                config,
                plan,
                delivered,
                claims,
                has_independent_worker,
                outcomes,
            };
            if !step.is_quiet() {
                digest.add(&step);
                net.note(|| step.to_string());
            }
            coverage.observe(&step);
            if checked.is_ok() {
                checked = invariants.check(&step);
            }
        });
        checked?;
        let holder = |attempt: AttemptId| attempts.get(&attempt).map(|given| given.session);
        coverage.observe_dispatch(&DispatchStep { event: &event, commands: &commands, reached, holder: &holder });
        self.dispatch_agrees.check(&self.dispatch);
        self.published.check(&commands)?;
        Ok(commands)
    }

    fn carry_out(&mut self, command: DispatchCommand, plan: &Plan, net: &mut Net) -> Option<DispatchEvent> {
        match command {
            DispatchCommand::Assign { session, attempt, task, resumes, .. } => {
                self.attempts.insert(attempt, SimAttempt { task, session, resumes });
                return self.tell(session, ToWorker::Assign { attempt, task }, net);
            }
            DispatchCommand::Cancel { session, attempt } => return self.tell(session, ToWorker::Cancel(attempt), net),
            DispatchCommand::Continue { session, attempt } => {
                self.attempts.get_mut(&attempt)?.session = session;
                return self.tell(session, ToWorker::Continue(attempt), net);
            }
            DispatchCommand::CheckDeferredEvents { attempt, task } => self.check_deferred_events(attempt, task, net),
            DispatchCommand::CheckResult { attempt, task } => self.check_result(attempt, task, net),
            DispatchCommand::AcceptResult { try_id, task, attempt, .. } => {
                self.accept(try_id, task, attempt, plan, net)
            }
            DispatchCommand::Discard { attempt } => self.forget(attempt),
            DispatchCommand::FailTry { try_id, .. } => self.end_soon(try_id, SimOutcome::Failed, 2000, net),
            DispatchCommand::EndSession { session } => {
                let entry = self.sessions.get_mut(&session)?;
                entry.open = false;
                let machine = entry.machine;
                if net.link(machine).connected == Some(session) {
                    net.tell(machine, session, ToWorker::Close);
                }
            }
            DispatchCommand::EndDrainWait { session } => {
                self.drains.remove(&session);
            }
            DispatchCommand::CompleteMarker { .. }
            | DispatchCommand::LogRefutedClaim { .. }
            | DispatchCommand::LogQuarantine { .. }
            | DispatchCommand::LogProbation { .. }
            | DispatchCommand::PublishStep { .. } => {}
        }
        None
    }

    /// Sends `message` to a session. Returns `SessionEnded` if its connection turns out to be closed.
    fn tell(&mut self, session: SessionId, message: ToWorker, net: &mut Net) -> Option<DispatchEvent> {
        let entry = self.sessions.get_mut(&session).filter(|entry| entry.open)?;
        let machine = entry.machine;
        if net.link(machine).connected != Some(session) && net.dice.chance(300) {
            entry.open = false;
            self.coverage.mark("worker found disconnected");
            return Some(DispatchEvent::SessionEnded { session });
        }
        net.tell(machine, session, message);
        None
    }

    fn check_deferred_events(&mut self, attempt: AttemptId, task: TaskId, net: &mut Net) {
        let Some(claims) = self.claims.get(&attempt).copied() else { return };
        if claims != Claims::of(task) {
            self.coverage.mark("wrong claims uploaded");
        }
        let takes = Self::check_time(attempt, net);
        net.after(takes, WorldEvent::DeferredEventsChecked { attempt, task });
    }

    /// Returns how long the check of an output of `attempt` takes. Some checks are delayed: they are slow themselves,
    /// or they wait. The report of the delay may arrive after the outcome.
    fn check_time(attempt: AttemptId, net: &mut Net) -> Duration {
        if !net.unsafe_phase || !net.dice.chance(40) {
            return net.dice.ms(20..=400);
        }
        let noticed = net.dice.ms(500..=2000);
        net.after(noticed, WorldEvent::CheckDelayed { attempt });
        net.dice.ms(400..=10_000)
    }

    fn check_result(&mut self, attempt: AttemptId, task: TaskId, net: &mut Net) {
        let value = self.delivered.get(&attempt).copied().flatten();
        let right = value == Some(Value::of(task));
        if !right {
            self.coverage.mark(if value.is_some() { "wrong result delivered" } else { "no result delivered" });
        }
        let takes = Self::check_time(attempt, net);
        net.after(takes, WorldEvent::ResultChecked { attempt, good: right || self.sabotage.blind });
    }

    fn forget(&mut self, attempt: AttemptId) {
        self.attempts.remove(&attempt);
        self.delivered.remove(&attempt);
        self.claims.remove(&attempt);
    }

    fn accept(&mut self, try_id: TryId, task: TaskId, attempt: AttemptId, plan: &Plan, net: &mut Net) {
        self.forget(attempt);
        let Some(state) = self.tries.get_mut(&try_id) else { return };
        state.open_tasks = state.open_tasks.saturating_sub(1);
        if let Some(parent) = plan.tasks[&task].parent
            && let Some(missing) = state.missing.get_mut(&parent)
        {
            *missing = missing.saturating_sub(1);
            if *missing == 0 {
                state.missing.remove(&parent);
                let delay = net.dice.ms(1..=50);
                net.after(delay, WorldEvent::Submit(parent));
            }
        }
        if state.open_tasks == 0 {
            self.end_soon(try_id, SimOutcome::Complete, 300, net);
        }
    }

    /// Checks what must be true when the world has ended.
    pub(crate) fn finish(&mut self, plan: &Plan, net: &Net) -> Result<(), Violation> {
        let step = SimStep {
            now: net.now,
            event: &Event::Tick,
            commands: &[],
            scheduler: self.dispatch.scheduler(),
            config: &self.config,
            plan,
            delivered: &self.delivered,
            claims: &self.claims,
            has_independent_worker: true,
            outcomes: &self.outcomes,
        };
        self.invariants.check_end(&step)?;
        self.dispatch_agrees.check_end(&self.dispatch);
        if let Some((attempt, given)) = self.attempts.first_key_value() {
            let what = format!("{attempt} of {} was neither accepted nor discarded", given.task);
            return Err(Violation::new("no attempt is left when the world ends", what));
        }
        if let Some(session) = self.drains.first() {
            let what = format!("the operator still waits for {session}");
            return Err(Violation::new("every wait for a drain ends", what));
        }
        Ok(())
    }
}
