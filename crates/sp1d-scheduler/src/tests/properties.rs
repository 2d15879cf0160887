//! Random events, valid and invalid, checked against a model that only sees events and commands.

use super::*;
use crate::{Placement, TaskStatus, WaitReason};
use proptest::{
    prelude::*,
    sample::Index,
    strategy::ValueTree,
    test_runner::{Config as Cases, TestRunner},
};
use std::collections::{BTreeMap, BTreeSet};

/// One step of a random sequence. An [`Index`] picks one of the items that exist at that time.
#[derive(Debug, Clone)]
enum Action {
    /// An event with ids from a small range, so it is often about unknown items, a duplicate, or out of order.
    Send(Event),
    /// A report about a live attempt, from the worker that holds it.
    Live(Index, Report),
    /// A report about any attempt ever assigned, from any worker.
    Late(Index, u64, Report),
    /// The verdict on a delivered result: true if it verifies.
    Verdict(Index, bool),
    /// Time passes by this many milliseconds, which may be a pause.
    Forward(u64),
    /// The clock runs backwards by this many milliseconds.
    Backward(u64),
}

#[derive(Debug, Clone, Copy)]
enum Report {
    Started,
    EventsAccepted,
    Delivered,
    Failed,
}

impl Report {
    fn event(self, session: SessionId, attempt: AttemptId) -> Event {
        match self {
            Self::Started => Event::AttemptStarted { session, attempt },
            Self::EventsAccepted => Event::DeferredEventsAccepted { session, attempt },
            Self::Delivered => Event::ResultDelivered { session, attempt },
            Self::Failed => Event::AttemptFailed { session, attempt, failure: broken() },
        }
    }
}

const TRIES: u64 = 4;
const GROUPS: u64 = 3;
const TASKS: u64 = 24;
const MARKERS: std::ops::Range<u64> = 20..28;
const WORKERS: u64 = 6;

fn report() -> impl Strategy<Value = Report> {
    prop_oneof![4 => Just(Report::Started), 3 => Just(Report::EventsAccepted), 4 => Just(Report::Delivered), 2 => Just(Report::Failed)]
}

fn kinds() -> impl Strategy<Value = KindSet> {
    let some = prop::collection::vec(prop::sample::select(&TaskKind::ALL[..]), 0..4)
        .prop_map(|kinds| kinds.into_iter().collect::<KindSet>());
    prop_oneof![3 => Just(KindSet::all()), 1 => some]
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![2 => Just(SHARD), 1 => Just(REDUCE), 1 => prop::sample::select(&TaskKind::ALL[..])];
    let submitted =
        (0..TRIES, 0..TASKS, kind, prop::option::weighted(0.2, MARKERS)).prop_map(|(try_id, task, kind, marker)| {
            Event::TaskSubmitted {
                try_id: TryId(try_id),
                task: TaskId(task),
                kind,
                marker: marker.map(TaskId),
                resumable_on: None,
            }
        });
    let ready = (0..WORKERS, 0..4_u32, kinds()).prop_map(|(session, slots, supported_kinds)| {
        ready_as(session, ReadyWorker { supported_kinds, ..plain_worker(session, slots) })
    });
    prop_oneof![
        3 => (0..TRIES, 0..GROUPS).prop_map(|(try_id, group)| new_try_of(try_id, group)),
        12 => submitted,
        2 => (0..TRIES, MARKERS).prop_map(|(try_id, id)| marker(try_id, id)),
        6 => ready,
        2 => (0..WORKERS).prop_map(lost),
        8 => (0..WORKERS).prop_map(renewed),
        1 => (0..TRIES).prop_map(ended),
        1 => (0..WORKERS, 0..60_u64, report())
            .prop_map(|(session, attempt, report)| report.event(SessionId(session), AttemptId(attempt))),
        1 => (0..60_u64).prop_map(passed),
        1 => (0..60_u64).prop_map(rejected),
        1 => Just(Event::Tick),
    ]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        20 => event().prop_map(Action::Send),
        12 => (any::<Index>(), report()).prop_map(|(pick, report)| Action::Live(pick, report)),
        3 => (any::<Index>(), 0..WORKERS, report()).prop_map(|(pick, session, report)| Action::Late(pick, session, report)),
        5 => (any::<Index>(), any::<bool>()).prop_map(|(pick, good)| Action::Verdict(pick, good)),
        4 => (0..900_u64).prop_map(Action::Forward),
        1 => (0..20_000_u64).prop_map(Action::Forward),
        1 => (0..3_000_u64).prop_map(Action::Backward),
    ];
    prop::collection::vec(action, 1..150)
}

fn configs() -> impl Strategy<Value = SchedulerConfig> {
    (1..5_u32, 1..6_u32, prop::sample::select(&Placement::ALL[..])).prop_map(|(max_failures, max_losses, placement)| {
        SchedulerConfig { max_failures, max_losses, placement, ..plain() }
    })
}

/// The model's view of a live attempt.
#[derive(Debug)]
struct Live {
    session: SessionId,
    task: TaskId,
    started: bool,
}

/// The model's view of a task.
#[derive(Debug)]
struct ModelTask {
    try_id: TryId,
    kind: TaskKind,
    marker: Option<TaskId>,
    accepted: Option<AttemptId>,
    /// Workers that the task failed on.
    failed_on: BTreeSet<SessionId>,
}

#[derive(Debug)]
struct ModelWorker {
    slots: usize,
    supported_kinds: KindSet,
    /// The value of `Model::counted` when the worker was last heard from.
    heard: Duration,
}

/// The model's own pack plan for one task kind.
#[derive(Debug, Default)]
struct ModelPlan {
    /// Open tasks and available workers when the plan was made.
    tasks: usize,
    workers: usize,
    /// Results delivered since then.
    delivered: usize,
    /// The newest attempt when the plan was made.
    newest: Option<AttemptId>,
}

/// A scheduler, and beside it the facts that must hold given its commands.
struct Model {
    table: Table,
    placement: Placement,
    plans: BTreeMap<TaskKind, ModelPlan>,
    /// The worker on which the current event ended an attempt, and that attempt.
    at_work: Option<(SessionId, AttemptId)>,
    /// The latest time that the scheduler received. The clock may have run backwards since.
    latest: Timestamp,
    /// Time that has counted against leases: all time except the pauses.
    counted: Duration,
    /// Tries that have not ended, with true for failed ones.
    tries: BTreeMap<TryId, bool>,
    tasks: BTreeMap<TaskId, ModelTask>,
    markers: BTreeMap<TaskId, (TryId, bool)>,
    workers: BTreeMap<SessionId, ModelWorker>,
    live: BTreeMap<AttemptId, Live>,
    /// The task of every attempt ever assigned.
    assigned: BTreeMap<AttemptId, TaskId>,
    /// Delivered results without a verdict, with true for attempts that were live at delivery.
    delivered: BTreeMap<AttemptId, bool>,
    /// Outcomes that have occurred.
    seen: BTreeSet<&'static str>,
}

impl Model {
    fn new(config: SchedulerConfig) -> Self {
        Self {
            table: Table::with(config),
            placement: config.placement,
            plans: BTreeMap::new(),
            at_work: None,
            latest: Timestamp::default(),
            counted: Duration::ZERO,
            tries: BTreeMap::new(),
            tasks: BTreeMap::new(),
            markers: BTreeMap::new(),
            workers: BTreeMap::new(),
            live: BTreeMap::new(),
            assigned: BTreeMap::new(),
            delivered: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(event) => self.send(event),
            Action::Live(pick, report) => {
                if !self.live.is_empty() {
                    let (attempt, live) =
                        self.live.iter().nth(pick.index(self.live.len())).expect("the index is in range");
                    self.send(report.event(live.session, *attempt));
                }
            }
            Action::Late(pick, session, report) => {
                if !self.assigned.is_empty() {
                    let attempt =
                        self.assigned.keys().nth(pick.index(self.assigned.len())).expect("the index is in range");
                    self.send(report.event(SessionId(session), *attempt));
                }
            }
            Action::Verdict(pick, good) => {
                if !self.delivered.is_empty() {
                    let attempt =
                        self.delivered.keys().nth(pick.index(self.delivered.len())).expect("the index is in range").0;
                    self.send(if good { passed(attempt) } else { rejected(attempt) });
                }
            }
            Action::Forward(milliseconds) => {
                self.table.now = self.table.now + ms(milliseconds);
                self.send(Event::Tick);
            }
            Action::Backward(milliseconds) => {
                self.table.now = self.table.now - ms(milliseconds);
                self.send(Event::Tick);
            }
        }
    }

    fn send(&mut self, event: Event) {
        let live_before: BTreeSet<AttemptId> = self.live.keys().copied().collect();
        self.expect(&event);
        let commands = self.table.send([event.clone()]);
        let mut stolen: Option<Live> = None;
        let mut planned = false;
        for command in &commands {
            let stolen_before = stolen.take();
            match command {
                Command::Assign { session, attempt, try_id, task, kind } => {
                    if !std::mem::replace(&mut planned, true) {
                        self.plan();
                    }
                    self.assign(
                        *session,
                        *attempt,
                        *try_id,
                        *task,
                        *kind,
                        stolen_before.filter(|live| live.task == *task),
                    );
                }
                Command::Cancel { session, attempt } => {
                    let live = self.live.remove(attempt).expect("only live attempts are cancelled");
                    assert_eq!(live.session, *session, "{attempt} is cancelled on a worker that does not hold it");
                    stolen = Some(live);
                }
                Command::CompleteMarker { try_id, marker, attempt } => {
                    let is_open = live_before.contains(attempt) || self.delivered.contains_key(attempt);
                    assert!(is_open, "{attempt} completes {marker} although it is neither live nor delivered");
                    assert_eq!(self.tasks[&self.assigned[attempt]].marker, Some(*marker));
                    let (of, completed) = self.markers.get_mut(marker).expect("only known markers are completed");
                    assert_eq!(of, try_id);
                    assert!(!std::mem::replace(completed, true), "{marker} is completed twice");
                    self.seen.insert("marker completed");
                }
                Command::AcceptResult { try_id, task, attempt, .. } => {
                    assert_eq!(event, passed(attempt.0), "{attempt} is accepted without a verdict");
                    assert_eq!(self.assigned[attempt], *task);
                    let live = self.delivered.remove(attempt).expect("only delivered results are accepted");
                    let model = self.tasks.get_mut(task).expect("only tasks of open tries are accepted");
                    assert_eq!(model.try_id, *try_id);
                    assert_eq!(model.accepted.replace(*attempt), None, "{task} is accepted twice");
                    assert!(model.marker.is_none_or(|marker| self.markers[&marker].1), "{task} lacks its marker");
                    self.seen.insert(if live { "accepted" } else { "accepted though lapsed" });
                }
                Command::Discard { attempt } => {
                    let known = self.assigned.get(attempt).and_then(|task| self.tasks.get(task));
                    assert_ne!(
                        known.and_then(|task| task.accepted),
                        Some(*attempt),
                        "{attempt} is final and is discarded"
                    );
                    if let Some(live) = self.delivered.remove(attempt)
                        && live
                        && known.is_some()
                        && (event == rejected(attempt.0) || event == passed(attempt.0))
                    {
                        // The result was rejected: the attempt failed on its worker.
                        let task = self.assigned[attempt];
                        let past = self.table.scheduler.task_history(task);
                        let past = past.iter().find(|past| past.attempt == *attempt).expect("a rejection is recorded");
                        let session = past.session;
                        self.tasks.get_mut(&task).expect("the task was found above").failed_on.insert(session);
                        self.seen.insert(if event == passed(attempt.0) { "without marker" } else { "rejected" });
                    }
                }
                Command::FailTry { try_id, task, history, .. } => {
                    assert_eq!(self.tasks[task].try_id, *try_id);
                    let failed = self.tries.get_mut(try_id).expect("only open tries fail");
                    assert!(!std::mem::replace(failed, true), "{try_id} fails twice");
                    let lost = history.last().expect("a failure has a history").reason == AttemptEndReason::WorkerLost;
                    self.seen.insert(if lost { "failed by losses" } else { "failed by failures" });
                }
                Command::Continue { .. }
                | Command::Quarantine { .. }
                | Command::Probation { .. }
                | Command::WorkerDrained { .. } => {
                    panic!("no event leads to this command: {command:?}")
                }
                Command::EndSession { session } => {
                    let silence = self.counted - self.workers[session].heard;
                    assert!(silence >= SchedulerConfig::default().lease_ttl, "{session} expires after {silence:?}");
                    self.remove_worker(*session);
                    self.seen.insert("expired");
                }
            }
        }
        if !planned {
            self.plan();
        }
        self.at_work = None;
        self.check();
    }

    /// Updates the model for the effects of `event` that do not depend on the scheduler's commands.
    fn expect(&mut self, event: &Event) {
        let step = self.table.now.saturating_since(self.latest);
        self.counted += step.min(SchedulerConfig::default().max_clock_step);
        self.latest = self.latest.max(self.table.now);
        let now = self.counted;
        match *event {
            Event::TryStarted { try_id, .. } => {
                self.tries.entry(try_id).or_insert(false);
            }
            Event::TaskSubmitted { try_id, task, kind, marker, .. } => self.submit(try_id, task, kind, marker),
            Event::MarkerSubmitted { try_id, marker } => {
                if self.tries.get(&try_id) == Some(&false) && !self.tasks.contains_key(&marker) {
                    self.markers.entry(marker).or_insert((try_id, false));
                }
            }
            Event::WorkerReady { session, ready: ReadyWorker { slots, supported_kinds, .. }, .. } => {
                let slots = slots.max(1) as usize;
                self.workers.entry(session).or_insert(ModelWorker { slots, supported_kinds, heard: now });
            }
            Event::LeaseRenewed { session } => {
                if let Some(worker) = self.workers.get_mut(&session) {
                    worker.heard = now;
                }
            }
            Event::SessionEnded { session } => self.remove_worker(session),
            Event::AttemptStarted { session, attempt } => {
                if let Some(live) = self.live.get_mut(&attempt).filter(|live| live.session == session) {
                    live.started = true;
                }
            }
            Event::ResultDelivered { session, attempt } => {
                if self.live.get(&attempt).is_some_and(|live| live.session == session) {
                    let live = self.live.remove(&attempt).expect("the attempt was found above");
                    self.plans.entry(self.tasks[&live.task].kind).or_default().delivered += 1;
                    self.at_work = Some((session, attempt));
                    self.delivered.insert(attempt, true);
                } else if !self.live.contains_key(&attempt) && self.assigned.contains_key(&attempt) {
                    // A lapsed attempt, or one that will be discarded.
                    self.delivered.entry(attempt).or_insert(false);
                }
            }
            Event::AttemptFailed { session, attempt, .. } => {
                if self.live.get(&attempt).is_some_and(|live| live.session == session) {
                    let live = self.live.remove(&attempt).expect("the attempt was found above");
                    self.tasks.get_mut(&live.task).expect("live attempts have tasks").failed_on.insert(session);
                    self.at_work = Some((session, attempt));
                }
            }
            Event::TryEnded { try_id } => {
                self.tries.remove(&try_id);
                self.tasks.retain(|_, task| task.try_id != try_id);
                self.markers.retain(|_, (of, _)| *of != try_id);
            }
            Event::DrainRequested { .. }
            | Event::SmallWorkersExcluded { .. }
            | Event::LastProverLost { .. }
            | Event::FirstProverReady { .. }
            | Event::DrainCancelled { .. }
            | Event::ProvenWrong { .. }
            | Event::DeferredEventsAccepted { .. }
            | Event::ResultPassed { .. }
            | Event::ResultRejected { .. }
            | Event::CheckDelayed { .. }
            | Event::AssignmentFailed { .. }
            | Event::Tick => {}
        }
    }

    fn submit(&mut self, try_id: TryId, task: TaskId, kind: TaskKind, marker: Option<TaskId>) {
        let taken = self.tasks.contains_key(&task) || self.markers.contains_key(&task);
        if taken || self.tries.get(&try_id) != Some(&false) || marker == Some(task) {
            return;
        }
        if let Some(marker) = marker
            && (self.tasks.contains_key(&marker) || self.markers.entry(marker).or_insert((try_id, false)).0 != try_id)
        {
            return;
        }
        let failed_on = BTreeSet::new();
        self.tasks.insert(task, ModelTask { try_id, kind, marker, accepted: None, failed_on });
    }

    fn remove_worker(&mut self, session: SessionId) {
        self.workers.remove(&session);
        let lost: Vec<Live> =
            self.live.extract_if(.., |_, live| live.session == session).map(|(_, live)| live).collect();
        // Started attempts may have caused the loss. If none had started, any attempt may have caused it.
        let proved = lost.iter().any(|live| live.started);
        for live in lost.iter().filter(|live| live.started || !proved) {
            self.tasks.get_mut(&live.task).expect("live attempts have tasks").failed_on.insert(session);
        }
    }

    fn assign(
        &mut self,
        session: SessionId,
        attempt: AttemptId,
        try_id: TryId,
        id: TaskId,
        kind: TaskKind,
        stolen: Option<Live>,
    ) {
        let task = &self.tasks[&id];
        assert_eq!((task.try_id, task.kind), (try_id, kind));
        assert_eq!(task.accepted, None, "{id} is accepted and is assigned again");
        assert!(!self.tries[&try_id], "{try_id} has failed, but its task {id} is assigned");
        assert!(self.workers[&session].supported_kinds.contains(kind), "{session} does not support the kind of {id}");
        assert!(self.held(session).count() < self.workers[&session].slots, "{session} has no slot for {id}");
        assert!(self.live.values().all(|live| live.task != id), "{id} has two live attempts");
        assert!(self.assigned.last_key_value().is_none_or(|(last, _)| *last < attempt), "{attempt} is used twice");
        if task.failed_on.contains(&session) {
            assert!(stolen.is_none(), "{id} is stolen for {session}, where it failed");
            assert!(self.failed_everywhere(task), "{id} goes back to {session}, where it failed");
            self.seen.insert("failed everywhere");
        }
        if self.held(session).next().is_none() {
            assert!(
                self.may_start(session, task, stolen.as_ref()),
                "{id} must not go to {session}, which placement leaves free"
            );
            let mut others = self.idle(task).filter(|other| *other != session);
            let at_work = others.find(|id| self.at_work.is_some_and(|(at_work, _)| at_work == *id));
            if self.placement == Placement::Pack {
                assert_eq!(
                    at_work, None,
                    "{id} goes to {session} instead of the worker that has just ended an attempt"
                );
            }
        } else {
            let starts = self.idle(task).find(|id| self.may_start(*id, task, None));
            assert_eq!(starts, None, "{id} goes to {session}, which is busy, although another worker is idle");
        }
        if let Some(stolen) = stolen {
            assert!(!stolen.started, "{attempt} takes a task that {} has already started", stolen.session);
            assert!(self.held(stolen.session).count() > 0, "{attempt} takes the only task of {}", stolen.session);
            self.seen.insert("stolen");
        }
        self.assigned.insert(attempt, id);
        self.live.insert(attempt, Live { session, task: id, started: false });
    }

    /// Compares the state after an event with what the model allows.
    fn check(&mut self) {
        for (id, worker) in &self.workers {
            assert!(
                self.counted - worker.heard < SchedulerConfig::default().lease_ttl,
                "{id} is silent but still connected"
            );
        }
        assert_eq!(self.table.scheduler.counts().live_attempts, self.live.len());
        assert_eq!(self.table.scheduler.counts().tries, self.tries.len());
        assert_eq!(self.table.scheduler.counts().workers, self.workers.len());
        let open = self.tasks.values().filter(|task| task.accepted.is_none()).count();
        assert_eq!(self.table.scheduler.counts().open_tasks, open);
        let mut seen = BTreeSet::new();
        let mut waiting: BTreeMap<TryId, usize> = BTreeMap::new();
        for (id, task) in self.tasks.iter().filter(|(_, task)| task.accepted.is_none() && !self.tries[&task.try_id]) {
            let live = self.live.values().find(|live| live.task == *id);
            let able = self.workers.iter().filter(|(_, worker)| worker.supported_kinds.contains(task.kind));
            match self.table.scheduler.task_status(*id).expect("the task was submitted") {
                TaskStatus::Waiting { reason, .. } => {
                    assert!(live.is_none(), "{id} waits and is live");
                    let free: Vec<_> = able.filter(|(id, worker)| self.held(**id).count() < worker.slots).collect();
                    let mut takers = free.iter().filter(|(id, _)| self.may_take(**id, task)).peekable();
                    let packed = takers.peek().is_some();
                    for (session, _) in takers {
                        let spare = self.held(**session).next().is_none() && !self.may_start(**session, task, None);
                        assert!(spare, "{id} waits although {session} could take it");
                        seen.insert("packed");
                    }
                    let parked = !free.is_empty() && !packed;
                    if parked {
                        seen.insert("parked");
                    }
                    let (held_back, unfit) = (
                        matches!(reason, WaitReason::OutsidePackPlan { .. }),
                        matches!(reason, WaitReason::AllFreeExcluded { .. }),
                    );
                    assert_eq!((held_back, unfit), (packed, parked), "{id} waits: {reason}");
                    *waiting.entry(task.try_id).or_default() += 1;
                }
                TaskStatus::Held { session, started, .. } => {
                    let live = live.expect("a held task has a live attempt");
                    assert_eq!((session, started.is_some()), (live.session, live.started));
                    if !live.started && self.held(session).count() >= 2 {
                        let mut idle = self.idle(task).filter(|id| !task.failed_on.contains(id));
                        let starts = idle.find(|id| self.may_start(*id, task, None));
                        assert_eq!(starts, None, "{id} waits behind another while a worker is idle");
                    }
                }
                TaskStatus::Verifying { attempt, .. } => {
                    assert!(live.is_none(), "{id} is delivered and live");
                    assert_eq!(self.delivered.get(&attempt), Some(&true), "{id} waits for a verdict already given");
                }
                other => panic!("{id} is open and its try has not failed, but its status is {other:?}"),
            }
        }
        for try_id in self.tries.keys() {
            let counted: usize = self.table.scheduler.waiting_of(*try_id).values().sum();
            assert_eq!(counted, waiting.remove(try_id).unwrap_or(0), "the reasons of {try_id} leave tasks out");
        }
        self.seen.append(&mut seen);
    }

    fn held(&self, session: SessionId) -> impl Iterator<Item = AttemptId> {
        self.live.iter().filter(move |(_, live)| live.session == session).map(|(attempt, _)| *attempt)
    }

    /// Returns the workers that hold no attempt and may take `task`.
    fn idle(&self, task: &ModelTask) -> impl Iterator<Item = SessionId> {
        let able =
            self.workers.iter().filter(|(_, worker)| worker.supported_kinds.contains(task.kind)).map(|(id, _)| *id);
        able.filter(|id| self.held(*id).next().is_none() && self.may_take(*id, task))
    }

    /// Returns true if `task` has not failed on `session`, or has failed on every available worker.
    fn may_take(&self, session: SessionId, task: &ModelTask) -> bool {
        !task.failed_on.contains(&session) || self.failed_everywhere(task)
    }

    /// Returns true if the placement policy lets `session`, which holds no attempt, take `task`. The attempt
    /// `stolen` is set if the task is taken from another worker.
    fn may_start(&self, session: SessionId, task: &ModelTask, stolen: Option<&Live>) -> bool {
        if self.placement == Placement::Spread {
            return true;
        }
        let live = self.live.values().chain(stolen).filter(|live| self.tasks[&live.task].kind == task.kind);
        let holders: BTreeSet<SessionId> = live.map(|live| live.session).collect();
        let plan = &self.plans[&task.kind];
        let rounds = plan.tasks.div_ceil(plan.workers);
        let goes_on = self.at_work.is_some_and(|(id, attempt)| id == session && Some(attempt) <= plan.newest);
        holders.len() < plan.tasks.div_ceil(rounds) || goes_on || !holders.iter().any(|id| self.may_take(*id, task))
    }

    /// Makes a new plan for each kind whose tasks or workers have changed.
    fn plan(&mut self) {
        for kind in TaskKind::ALL {
            let passed = |id: &TaskId| self.delivered.iter().any(|(of, live)| *live && self.assigned[of] == *id);
            let open = self.tasks.iter().filter(|(id, task)| {
                let live = self.live.values().any(|live| live.task == **id);
                task.kind == kind && (live || task.accepted.is_none() && !self.tries[&task.try_id] && !passed(id))
            });
            let tasks = open.count();
            let workers = self.workers.values().filter(|worker| worker.supported_kinds.contains(kind)).count();
            let newest = self.assigned.last_key_value().map(|(attempt, _)| *attempt);
            let plan = self.plans.entry(kind).or_default();
            if (plan.tasks, plan.workers) != (tasks + plan.delivered, workers) {
                *plan = ModelPlan { tasks, workers, delivered: 0, newest };
            }
        }
    }

    fn failed_everywhere(&self, task: &ModelTask) -> bool {
        let mut able = self.workers.iter().filter(|(_, worker)| worker.supported_kinds.contains(task.kind));
        able.all(|(id, _)| task.failed_on.contains(id))
    }

    fn unfinished(&self) -> usize {
        self.tasks.values().filter(|task| task.accepted.is_none() && !self.tries[&task.try_id]).count()
    }

    /// Removes all faults and runs until every try that has not failed is finished. The healthy workers renew their
    /// leases and finish all their attempts, one of them supports every kind, and every result verifies.
    fn finish(&mut self) {
        let mut healthy: Vec<SessionId> = self.workers.keys().copied().filter(|session| session.0 % 2 == 1).collect();
        healthy.push(SessionId(WORKERS));
        self.send(ready(WORKERS, 1));
        // A round takes half a second and ends at least one attempt. Before that, the leases of the silent workers must
        // end. A result delivered without its marker may need one more attempt.
        let silence = 40;
        let mut rounds = silence + 2 * self.unfinished();
        while self.unfinished() > 0 {
            assert!(rounds > 0, "{} tasks are not finished: {:?}", self.unfinished(), self.table.scheduler);
            rounds -= 1;
            self.table.now = self.table.now + ms(500);
            for session in &healthy {
                self.send(Event::LeaseRenewed { session: *session });
            }
            for session in &healthy {
                for attempt in self.held(*session).collect::<Vec<_>>() {
                    for report in [Report::Started, Report::EventsAccepted, Report::Delivered] {
                        self.send(report.event(*session, attempt));
                    }
                }
            }
            for attempt in self.delivered.keys().copied().collect::<Vec<_>>() {
                self.send(Event::ResultPassed { attempt });
                self.delivered.remove(&attempt);
            }
        }
        self.seen.insert("finished");
    }

    /// Ends all tries and workers, after which the scheduler must be empty.
    fn end(&mut self) {
        for try_id in self.tries.keys().copied().collect::<Vec<_>>() {
            self.send(Event::TryEnded { try_id });
        }
        for session in self.workers.keys().copied().collect::<Vec<_>>() {
            self.send(Event::SessionEnded { session });
        }
        assert_eq!(self.table.scheduler.held_items(), [0; 10]);
        assert_eq!(self.table.scheduler.next_deadline(), None);
    }
}

fn play(config: SchedulerConfig, actions: Vec<Action>) -> Model {
    let mut model = Model::new(config);
    for action in actions {
        model.act(action);
    }
    model.finish();
    model.end();
    model
}

proptest! {
    #![proptest_config(Cases { cases: 400, ..Cases::default() })]

    #[test]
    fn invariants_hold_and_every_unfailed_try_finishes(
        config in configs(),
        actions in actions(),
    ) {
        play(config, actions);
    }
}

#[test]
fn random_events_reach_every_outcome() {
    /// Stories that are played even if fewer reach every outcome.
    const MIN_STORIES: usize = 250;
    const MAX_STORIES: usize = 4000;
    let all = [
        "accepted",
        "accepted though lapsed",
        "expired",
        "failed by failures",
        "failed by losses",
        "failed everywhere",
        "finished",
        "marker completed",
        "packed",
        "parked",
        "rejected",
        "stolen",
        "without marker",
    ];
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for number in 0..MAX_STORIES {
        if number >= MIN_STORIES && seen.len() >= all.len() {
            break;
        }
        let story = (configs(), actions()).new_tree(&mut runner).expect("the strategies reject nothing").current();
        seen.append(&mut play(story.0, story.1).seen);
    }
    assert!(seen.iter().eq(all.iter()), "seen: {seen:?}");
}

#[test]
fn the_same_events_give_the_same_commands() {
    let mut runner = TestRunner::deterministic();
    for placement in Placement::ALL.into_iter().cycle().take(20) {
        let actions = actions().new_tree(&mut runner).expect("the strategies reject nothing").current();
        let run = || {
            let mut model = Model::new(SchedulerConfig { placement, ..plain() });
            actions.iter().cloned().for_each(|action| model.act(action));
            format!("{:?}", model.table.scheduler)
        };
        assert_eq!(run(), run());
    }
}
