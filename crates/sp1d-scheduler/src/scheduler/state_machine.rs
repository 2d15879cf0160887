//! The scheduler's state, and the order in which it processes an event.

use crate::{
    AttemptId, Command, Event, SchedulerConfig, TaskId, Timestamp, TryId,
    placement::{FreedWorker, PackPlans, Stealable},
    queue::{ExclusionBuckets, TaskQueue},
    tasks::{ScheduledAttempt, ScheduledMarker, ScheduledTask, ScheduledTry},
    workers::{KnownWorkers, Leases, PaceWatch, Paces, SchedulerClock, WorkerSessions},
};
use std::collections::{BTreeMap, BTreeSet};

/// Decides which worker gets which task, which result counts, and when a task has failed for good.
///
/// Pass each event to [`handle`](Self::handle), and carry out the returned commands before passing the next event.
/// Call `handle` with [`Event::Tick`] at [`next_deadline`](Self::next_deadline).
///
/// - A free slot takes a waiting task at once. Tries take turns in fair-share order: the group with the fewest attempts
///   on workers comes first, then its try with the fewest, and the try's most useful task is assigned.
/// - A task goes to an idle worker if there is one, unless the fastest worker has a free slot and would finish it
///   earlier. If no worker is idle, it goes to the worker that holds the fewest attempts.
///   [`Placement::Pack`](crate::Placement::Pack) leaves some workers free instead.
/// - A task usually has one live attempt, and never more than two. It can have two if one of them is slow, overdue or
///   on a slow worker, if it starts late, or after a reconnect. The first result that passes its check is final, even
///   if the task no longer relied on that attempt.
/// - A failed attempt is retried on another worker, or on a worker that was tried if no other is left. A task whose
///   worker was lost is requeued. Both happen a limited number of times.
/// - A slow attempt gets a speculative attempt beside it, and so does one on a worker that is much slower than an idle
///   one. After a longer time the task of a slow attempt is retried elsewhere, and an attempt that hangs is cancelled:
///   see [`PaceRules`](crate::PaceRules).
/// - A delivered result waits for the check of its attempt's deferred events, and then for its own. The end of its
///   session does not end these checks.
/// - A task whose result waits for a slow check goes to another worker meanwhile: see [`Event::CheckDelayed`].
/// - A worker with too many faults at tasks of a kind is quarantined for the kind: see
///   [`QuarantineRules`](crate::QuarantineRules).
/// - A worker that reconnects continues those of its attempts that their tasks still need. After a restart of the
///   orchestrator, it resumes them under new attempt numbers.
/// - Everything about a try is forgotten when the try ends.
///
/// Events may be late, duplicated, or about unknown or forgotten items.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) config: SchedulerConfig,
    pub(super) clock: SchedulerClock,
    pub(super) leases: Leases,
    pub(super) sessions: WorkerSessions,
    pub(super) workers: KnownWorkers,
    /// Expected task durations over all workers.
    pub(super) paces: Paces,
    pub(super) watch: PaceWatch,
    pub(super) tries: BTreeMap<TryId, ScheduledTry>,
    pub(super) tasks: BTreeMap<TaskId, ScheduledTask>,
    pub(super) markers: BTreeMap<TaskId, ScheduledMarker>,
    pub(super) attempts: BTreeMap<AttemptId, ScheduledAttempt>,
    /// The waiting tasks.
    pub(super) queue: TaskQueue,
    /// The attempts whose tasks an idle worker may steal.
    pub(super) stealable: Stealable,
    /// Open tasks that exclude workers by memory: those that ran out of memory on at least one worker, and the shards
    /// of tries that exclude small workers.
    pub(super) tasks_excluding_by_memory: BTreeSet<TaskId>,
    /// The waiting tasks for which no ready worker has enough memory, and since when that is so, on the attended
    /// clock.
    pub(super) memory_waits: BTreeMap<TaskId, Timestamp>,
    /// True if the tasks of `memory_waits` must be found again. A task that excludes workers by memory has entered or
    /// left the queue, or the workers that count have changed.
    pub(super) memory_waits_are_stale: bool,
    /// For each task kind, how many workers share its tasks under [`Placement::Pack`](crate::Placement::Pack).
    pub(super) pack_plans: PackPlans,
    /// The largest number of workers that any task ever excluded.
    pub(super) max_excluded_workers: usize,
    /// Number of tasks without a final result.
    pub(super) open_tasks: usize,
    /// Number of tries ever started.
    pub(super) tries_started: u64,
    /// Number of tasks ever submitted.
    pub(super) tasks_submitted: u64,
    /// Number of the latest attempt.
    pub(super) attempts_assigned: u64,
}

impl Scheduler {
    /// Creates a scheduler without workers and tries. `max_failures` and `max_losses` in `config` are raised to 1 if
    /// they are 0.
    #[must_use]
    pub fn new(config: SchedulerConfig) -> Self {
        let config = SchedulerConfig {
            max_failures: config.max_failures.max(1),
            max_losses: config.max_losses.max(1),
            ..config
        };
        Self {
            config,
            clock: SchedulerClock::new(config.max_clock_step),
            leases: Leases::default(),
            sessions: WorkerSessions::default(),
            workers: KnownWorkers::default(),
            paces: Paces::default(),
            watch: PaceWatch::default(),
            tries: BTreeMap::new(),
            tasks: BTreeMap::new(),
            markers: BTreeMap::new(),
            attempts: BTreeMap::new(),
            queue: TaskQueue::default(),
            stealable: ExclusionBuckets::new(),
            tasks_excluding_by_memory: BTreeSet::new(),
            memory_waits: BTreeMap::new(),
            memory_waits_are_stale: false,
            pack_plans: PackPlans::new(),
            max_excluded_workers: 0,
            open_tasks: 0,
            tries_started: 0,
            tasks_submitted: 0,
            attempts_assigned: config.last_attempt_before_restart,
        }
    }

    /// Processes `event`, which happened at `now`. Returns the commands to carry out, in order, before the next event.
    ///
    /// If `now` is before an earlier call's time, the earlier call's time is used. A step longer than
    /// [`SchedulerConfig::max_clock_step`] is treated as a pause of the scheduler, and its excess does not count
    /// against any lease.
    #[must_use = "the scheduler assumes that its commands are carried out"]
    pub fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        self.clock.advance(now, self.sessions.len() > 0);
        let mut commands = Vec::new();
        let freed_worker = self.freed_worker(&event);
        // The event is applied before leases expire: a worker whose message has just arrived is not silent, however
        // late the message is.
        self.apply(event, &mut commands);
        self.expire_leases(&mut commands);
        self.expire_attempts(&mut commands);
        self.expire_start_deadlines(&mut commands);
        self.expire_memory_waits(&mut commands);
        self.end_quarantines(&mut commands);
        self.end_quarantines_of_needed_workers(&mut commands);
        self.pack_plans.update(&self.queue, &self.sessions, AttemptId(self.attempts_assigned));
        self.fill_slots(freed_worker, &mut commands);
        self.announce_drained(&mut commands);
        commands
    }

    /// Returns when [`handle`](Self::handle) must be called next, with [`Event::Tick`] if no other event happens
    /// before. Returns `None` if no worker is ready: leases and
    /// [`SchedulerConfig::memory_patience`] count only while one is. Calling `handle` earlier is harmless.
    ///
    /// The deadline is the end of the first lease or of the first wait for memory, but at most half of
    /// [`SchedulerConfig::max_clock_step`] after the last call. If the driver slept longer in quiet times, its sleep
    /// would look like a pause and the lease of a silent worker would never end. All other times, for example those of
    /// overdue attempts and of quarantines, are noticed at the next call: at most half a clock step late.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let (lease_end, _) = self.leases.earliest()?;
        let wait_end = self.memory_waits.values().min().map(|since| *since + self.config.memory_patience);
        let first = wait_end.map_or(lease_end, |end| lease_end.min(self.clock.to_lease_time(end)));
        Some(self.clock.deadline(first))
    }

    /// Returns the worker that finishes a live attempt with `event`.
    fn freed_worker(&self, event: &Event) -> Option<FreedWorker> {
        let (Event::ResultDelivered { session, attempt } | Event::AttemptFailed { session, attempt, .. }) = *event
        else {
            return None;
        };
        self.task_if_held(session, attempt).map(|_| FreedWorker { session, attempt })
    }

    fn apply(&mut self, event: Event, commands: &mut Vec<Command>) {
        match event {
            Event::TryStarted { try_id, group, trusted_only } => self.on_try_started(try_id, group, trusted_only),
            Event::SmallWorkersExcluded { try_id, size } => self.on_small_workers_excluded(try_id, size),
            Event::TaskSubmitted { try_id, task, kind, marker, resumable_on } => {
                let is_new = !self.tasks.contains_key(&task);
                self.on_task_submitted(try_id, task, kind, marker);
                if let (Some(session), true) = (resumable_on, is_new) {
                    self.resume_task(task, session, commands);
                }
            }
            Event::MarkerSubmitted { try_id, marker } => self.on_marker_submitted(try_id, marker),
            Event::TryEnded { try_id } => self.on_try_ended(try_id, commands),
            Event::WorkerReady { session, ready, resumable_tasks, draining } => {
                let resumable_tasks = if self.sessions.contains(session) { Vec::new() } else { resumable_tasks };
                self.on_worker_ready(session, &ready, draining, commands);
                resumable_tasks.into_iter().for_each(|task| self.resume_task(task, session, commands));
            }
            Event::DrainRequested { session } => self.on_drain_requested(session, commands),
            Event::DrainCancelled { session } => self.on_drain_cancelled(session),
            Event::LastProverLost { session } => self.on_last_prover_lost(session, commands),
            Event::FirstProverReady { session } => self.on_first_prover_ready(session),
            Event::SessionEnded { session } => self.on_session_ended(session, commands),
            Event::LeaseRenewed { session } => self.on_lease_renewed(session),
            Event::AssignmentFailed { attempt } => self.on_assignment_failed(attempt, commands),
            Event::AttemptStarted { session, attempt } => self.on_attempt_started(session, attempt),
            Event::DeferredEventsAccepted { session, attempt } => {
                self.on_deferred_events_accepted(session, attempt, commands)
            }
            Event::ResultDelivered { session, attempt } => self.on_result_delivered(session, attempt, commands),
            Event::ResultPassed { attempt } => self.on_result_passed(attempt, commands),
            Event::ResultRejected { attempt, reason } => self.on_result_rejected(attempt, reason, commands),
            Event::CheckDelayed { attempt } => self.on_check_delayed(attempt, commands),
            Event::AttemptFailed { session, attempt, failure } => {
                self.on_attempt_failed(session, attempt, failure, commands);
            }
            Event::ProvenWrong { worker, reason } => self.on_proven_wrong(worker, &reason, commands),
            Event::Tick => {}
        }
    }

    // An id found in one map always has its entry in the others; `check_invariants` lists these rules. If such a lookup
    // fails, our own data is inconsistent, and a panic is better than continuing with it.

    pub(super) fn task(&self, task: TaskId) -> &ScheduledTask {
        self.tasks.get(&task).expect("attempts, the queue and tries name only known tasks")
    }

    pub(super) fn task_mut(&mut self, task: TaskId) -> &mut ScheduledTask {
        self.tasks.get_mut(&task).expect("attempts, the queue and tries name only known tasks")
    }

    pub(super) fn attempt(&self, attempt: AttemptId) -> &ScheduledAttempt {
        self.attempts.get(&attempt).expect("tasks and workers name only known attempts")
    }

    pub(super) fn attempt_mut(&mut self, attempt: AttemptId) -> &mut ScheduledAttempt {
        self.attempts.get_mut(&attempt).expect("tasks and workers name only known attempts")
    }

    pub(super) fn try_of(&self, task: &ScheduledTask) -> &ScheduledTry {
        self.tries.get(&task.try_id).expect("the tasks of a try are forgotten together with the try")
    }
}
