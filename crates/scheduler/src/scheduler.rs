//! The state machine.

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

/// Decides which worker gets which task, whose result counts, and when a task has failed for good.
///
/// Tell it what happened with [`handle`](Self::handle) and carry out the commands it answers with before telling it the
/// next thing; call it with [`Event::Tick`] when [`next_deadline`](Self::next_deadline) comes.
///
/// - A free slot takes a waiting task at once, the most useful one of the proof that workers are at fewest tasks of; a
///   task goes to the worker that holds fewest attempts. (Unless workers are to be left free: see
///   [`Placement`](crate::Placement).)
/// - A task has at most one live attempt, or two while one of them takes too long. The first of its attempts, live or
///   not, whose result verifies is final.
/// - What fails is retried on another worker, what is lost with its worker is requeued; both a limited number of times.
/// - What runs for longer than such tasks take gets a copy, and after a limit its task is retried elsewhere: see
///   [`PaceRules`](crate::PaceRules).
/// - A worker that does too much badly gets nothing for a while: see [`QuarantineRules`](crate::QuarantineRules).
/// - A worker that comes back goes on with what it still holds, if that is still wanted, also after a restart of the
///   orchestrator.
/// - What is known of a proof is forgotten when it ends.
///
/// Events may be late, doubled, or about what is unknown or forgotten.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    clock: Clock,
    leases: Leases,
    workers: Workers,
    peers: Peers,
    /// What tasks take, whoever does them.
    paces: Paces,
    watch: Watch,
    proofs: BTreeMap<ProofId, Proof>,
    tasks: BTreeMap<TaskId, Task>,
    markers: BTreeMap<TaskId, Marker>,
    attempts: BTreeMap<AttemptId, Attempt>,
    /// The tasks that wait.
    queue: Queue,
    /// The attempts that an idle worker may get instead.
    stealable: Stealable,
    /// Open tasks that ran out of memory on some worker.
    memory_bound: BTreeSet<TaskId>,
    /// How many workers are to share the tasks of each kind.
    crews: Crews,
    /// Tasks without a final result.
    open_tasks: usize,
    /// Proofs ever started.
    proofs_started: u64,
    /// Tasks ever submitted.
    tasks_submitted: u64,
    /// The last number given to an attempt.
    attempts_assigned: u64,
}

impl Scheduler {
    /// A scheduler without workers and proofs. Limits in `config` that are to be at least 1 count as 1 when they are 0.
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
            crews: Crews::new(),
            open_tasks: 0,
            proofs_started: 0,
            tasks_submitted: 0,
            attempts_assigned: config.attempts_before,
        }
    }

    /// Takes note of `event`, which happened at `now`, and answers what is to be done, in order, before the next event.
    ///
    /// A `now` before an earlier one counts as the earlier one. When it is more than [`Config::max_clock_step`] after
    /// it, the scheduler takes itself to have been paused, and what exceeds that step doesn't count against any lease.
    #[must_use = "the scheduler takes its commands for carried out"]
    pub fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        self.clock.advance(now);
        let mut commands = Vec::new();
        let at_work = self.at_work(&event);
        // The event comes before the leases: a worker that was heard from just now isn't silent, however late that is.
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

    /// When [`handle`](Self::handle) must be called next, with [`Event::Tick`] if nothing happens before. `None` when
    /// nothing depends on time, which is when no worker is connected. Calling earlier is harmless.
    ///
    /// That is when the first lease ends, but at most half of [`Config::max_clock_step`] from the last call: were the
    /// driver to sleep longer whenever it is quiet, its sleep would look like a pause and a silent worker's lease would
    /// never end.
    #[must_use]
    pub fn next_deadline(&self) -> Deadline {
        self.leases.earliest().map(|(expiry, _)| self.clock.deadline(expiry))
    }

    /// The worker that is about to lose an attempt by `event`, as that ends on it.
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

    // Ids found in one map lead to entries in another; `check_invariants` says which. Where that fails, our own books
    // are wrong, and stopping is better than carrying on with them.

    fn task(&self, task: TaskId) -> &Task {
        self.tasks.get(&task).expect("attempts, queue and proofs name known tasks")
    }

    fn task_mut(&mut self, task: TaskId) -> &mut Task {
        self.tasks.get_mut(&task).expect("attempts, queue and proofs name known tasks")
    }

    fn attempt(&self, attempt: AttemptId) -> &Attempt {
        self.attempts.get(&attempt).expect("tasks and workers name known attempts")
    }

    fn attempt_mut(&mut self, attempt: AttemptId) -> &mut Attempt {
        self.attempts.get_mut(&attempt).expect("tasks and workers name known attempts")
    }

    fn proof_of(&self, task: &Task) -> &Proof {
        self.proofs.get(&task.proof).expect("the tasks of a proof are forgotten with it")
    }
}
