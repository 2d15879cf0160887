//! The scheduler's state machine.

mod health;
mod invariants;
mod outcomes;
mod proofs;
mod queries;
mod reports;
mod sessions;
mod slots;

use crate::{
    AttemptId, Command, Config, Deadline, Event, ProofId, TaskId, Timestamp,
    attempt::Attempt,
    crew::Crews,
    lanes::Lanes,
    lease::{Clock, Leases},
    pace::{Paces, Watch},
    peer::Peers,
    placement::{AtWork, Stealable},
    queue::Queue,
    task::{Marker, Proof, Task},
    workers::Workers,
};
use health::Fault;
use sessions::Joining;
use std::collections::{BTreeMap, BTreeSet};

/// Decides which worker gets which task, which result counts, and when a task has failed for good.
///
/// Report each event with [`handle`](Self::handle) and carry out the returned commands before reporting the next event.
/// Call `handle` with [`Event::Tick`] at [`next_deadline`](Self::next_deadline).
///
/// - A free slot takes a waiting task at once. Proofs take turns in fair-share order: the proof with the fewest
///   attempts on workers comes first, and its most useful task is assigned.
/// - A task goes to an idle worker if there is one, unless a faster busy worker would finish it earlier. Otherwise it
///   goes to the worker that holds the fewest attempts. [`Placement::Pack`](crate::Placement::Pack) leaves some workers
///   free instead.
/// - A task has at most one live attempt, or two while one of them is slow. The first attempt whose result verifies is
///   final, even if that attempt is no longer live.
/// - A failed attempt is retried on another worker. A task whose worker was lost is requeued. Both happen a limited
///   number of times.
/// - A slow attempt gets a speculative attempt beside it. After a longer time its task is retried elsewhere: see
///   [`PaceRules`](crate::PaceRules).
/// - A worker with too many faults is quarantined: see [`QuarantineRules`](crate::QuarantineRules).
/// - A worker that reconnects continues the attempts that it still holds and that are still wanted, even after a
///   restart of the orchestrator.
/// - Everything about a proof is forgotten when the proof ends.
///
/// Events may be late, duplicated, or about unknown or forgotten items.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    clock: Clock,
    leases: Leases,
    workers: Workers,
    peers: Peers,
    /// Expected task durations over all workers.
    paces: Paces,
    watch: Watch,
    proofs: BTreeMap<ProofId, Proof>,
    tasks: BTreeMap<TaskId, Task>,
    markers: BTreeMap<TaskId, Marker>,
    attempts: BTreeMap<AttemptId, Attempt>,
    /// The waiting tasks.
    queue: Queue,
    /// The attempts that an idle worker may take over.
    stealable: Stealable,
    /// Open tasks that ran out of memory on at least one worker.
    memory_bound: BTreeSet<TaskId>,
    /// The waiting tasks for which no connected worker has enough memory, and since when that is so, on the attended
    /// clock.
    memory_waits: BTreeMap<TaskId, Timestamp>,
    /// For each task kind, how many workers share its tasks under [`Placement::Pack`](crate::Placement::Pack).
    crews: Crews,
    /// Number of tasks without a final result.
    open_tasks: usize,
    /// Number of proofs ever started.
    proofs_started: u64,
    /// Number of tasks ever submitted.
    tasks_submitted: u64,
    /// Number of the latest attempt.
    attempts_assigned: u64,
}

impl Scheduler {
    /// Creates a scheduler without workers and proofs. `max_failures` and `max_losses` in `config` are raised to 1 if
    /// they are 0.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let config =
            Config { max_failures: config.max_failures.max(1), max_losses: config.max_losses.max(1), ..config };
        Self {
            config,
            clock: Clock::new(config.max_clock_step),
            leases: Leases::default(),
            workers: Workers::default(),
            peers: Peers::default(),
            paces: Paces::default(),
            watch: Watch::default(),
            proofs: BTreeMap::new(),
            tasks: BTreeMap::new(),
            markers: BTreeMap::new(),
            attempts: BTreeMap::new(),
            queue: Queue::default(),
            stealable: Lanes::new(),
            memory_bound: BTreeSet::new(),
            memory_waits: BTreeMap::new(),
            crews: Crews::new(),
            open_tasks: 0,
            proofs_started: 0,
            tasks_submitted: 0,
            attempts_assigned: config.attempts_before,
        }
    }

    /// Processes `event`, which happened at `now`. Returns the commands to carry out, in order, before the next event.
    ///
    /// If `now` is before an earlier call's time, the earlier call's time is used. A step longer than
    /// [`Config::max_clock_step`] is treated as a pause of the scheduler, and its excess does not count against any
    /// lease.
    #[must_use = "the scheduler assumes that its commands are carried out"]
    pub fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        self.clock.advance(now, self.workers.len() > 0);
        let mut commands = Vec::new();
        let at_work = self.at_work(&event);
        // The event is applied before leases expire: a worker that was just heard from is not silent, however late the
        // message is.
        self.apply(event, &mut commands);
        self.expire_leases(&mut commands);
        self.expire_attempts(&mut commands);
        self.expire_starts(&mut commands);
        self.expire_memory_waits(&mut commands);
        self.end_quarantines(&mut commands);
        self.release_needed(&mut commands);
        self.crews.update(&self.queue, &self.workers, AttemptId(self.attempts_assigned));
        self.fill_slots(at_work, &mut commands);
        self.announce_drained(&mut commands);
        commands
    }

    /// Returns when [`handle`](Self::handle) must be called next, with [`Event::Tick`] if no other event happens
    /// before. Returns `None` if no worker is connected: then there is no lease, and [`Config::patience`] does not
    /// count. Calling `handle` earlier is harmless.
    ///
    /// The deadline is the end of the first lease or of the first wait for memory, but at most half of
    /// [`Config::max_clock_step`] after the last call. If the driver slept longer in quiet times, its sleep would look
    /// like a pause and the lease of a silent worker would never end.
    #[must_use]
    pub fn next_deadline(&self) -> Deadline {
        let (lease_end, _) = self.leases.earliest()?;
        let wait_end = self.memory_waits.values().min().map(|since| *since + self.config.patience);
        let first = wait_end.map_or(lease_end, |end| lease_end.min(self.clock.to_lease_time(end)));
        Some(self.clock.deadline(first))
    }

    /// Returns the worker on which `event` ends a live attempt.
    fn at_work(&self, event: &Event) -> Option<AtWork> {
        let (Event::AttemptReported { worker, attempt } | Event::AttemptFailed { worker, attempt, .. }) = *event else {
            return None;
        };
        self.live_task(worker, attempt).map(|_| AtWork { worker, attempt })
    }

    fn apply(&mut self, event: Event, commands: &mut Vec<Command>) {
        match event {
            Event::ProofStarted { proof } => self.on_proof_started(proof),
            Event::TaskSubmitted { proof, task, kind, marker, begun_on } => {
                let is_new = !self.tasks.contains_key(&task);
                self.on_task_submitted(proof, task, kind, marker);
                if let (Some(worker), true) = (begun_on, is_new) {
                    self.give_back(task, worker, commands);
                }
            }
            Event::MarkerSubmitted { proof, task } => self.on_marker_submitted(proof, task),
            Event::ProofEnded { proof } => self.on_proof_ended(proof, commands),
            Event::WorkerJoined { worker, peer, memory_bytes, slots, kinds, holds, begun } => {
                let begun = if self.workers.contains(worker) { Vec::new() } else { begun };
                self.on_worker_joined(worker, Joining { peer, memory_bytes, slots, kinds }, &holds, commands);
                begun.into_iter().for_each(|task| self.give_back(task, worker, commands));
            }
            Event::WorkerDraining { worker } => self.on_worker_draining(worker, commands),
            Event::WorkerResumed { worker } => self.on_worker_resumed(worker),
            Event::WorkerUnready { worker } => self.on_worker_unready(worker, commands),
            Event::WorkerReady { worker } => self.on_worker_ready(worker),
            Event::WorkerLost { worker } => self.on_worker_lost(worker, commands),
            Event::LeasesRenewed { worker } => self.on_leases_renewed(worker),
            Event::AttemptStarted { worker, attempt } => self.on_attempt_started(worker, attempt),
            Event::MarkerReported { worker, attempt } => self.on_marker_reported(worker, attempt, commands),
            Event::AttemptReported { worker, attempt } => self.on_attempt_reported(worker, attempt, commands),
            Event::ResultVerified { attempt } => self.on_result_verified(attempt, commands),
            Event::ResultRejected { attempt, reason } => self.on_result_rejected(attempt, reason, commands),
            Event::AttemptFailed { worker, attempt, failure } => {
                self.on_attempt_failed(worker, attempt, failure, commands);
            }
            Event::PeerBlamed { peer, reason } => self.blame(peer, Fault::Proven, &reason, commands),
            Event::Tick => {}
        }
    }

    // An id found in one map always has its entry in the others; `check_invariants` lists these rules. If such a lookup
    // fails, our own data is inconsistent, and a panic is better than continuing with it.

    fn task(&self, task: TaskId) -> &Task {
        self.tasks.get(&task).expect("attempts, the queue and proofs name only known tasks")
    }

    fn task_mut(&mut self, task: TaskId) -> &mut Task {
        self.tasks.get_mut(&task).expect("attempts, the queue and proofs name only known tasks")
    }

    fn attempt(&self, attempt: AttemptId) -> &Attempt {
        self.attempts.get(&attempt).expect("tasks and workers name only known attempts")
    }

    fn attempt_mut(&mut self, attempt: AttemptId) -> &mut Attempt {
        self.attempts.get_mut(&attempt).expect("tasks and workers name only known attempts")
    }

    fn proof_of(&self, task: &Task) -> &Proof {
        self.proofs.get(&task.proof).expect("the tasks of a proof are forgotten together with the proof")
    }
}
