//! Runs shards on workers, with the real scheduler in virtual time.
//!
//! A worker has two slots: it proves one attempt at a time and holds one more. An attempt reaches its worker when the
//! hub has sent its record. A result is accepted at once.

use super::{
    fleet::{DOWN_SECONDS, SimulatedFleet},
    shards::{HubRate, ShardPlan},
};
use anyhow::{Context, Result, bail};
use fastrand::Rng;
use sp1d_scheduler::{
    AttemptId, Command, Event, KindSet, OriginId, ReadyWorker, Scheduler, SchedulerConfig, SessionId, ShardRoom,
    ShareGroup, TaskId, TaskKind, Timestamp, TryId, WorkerId,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// How a simulated run went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimulatedRun {
    /// Time until the last result, in seconds.
    pub(crate) makespan: f64,
    /// Number of assignments, with speculative and repeated ones.
    pub(crate) attempts: usize,
    /// Number of failures of workers.
    pub(crate) failures: usize,
}

const TRY: TryId = TryId(1);

/// No worker is silent in this simulation: it has no heartbeats.
const LEASE: Duration = Duration::from_secs(1 << 30);

#[derive(Debug, Clone, Copy)]
enum Occurrence {
    Submit(usize),
    Arrival { worker: usize, session: SessionId, attempt: AttemptId },
    End { worker: usize, session: SessionId, attempt: AttemptId },
    Failure(usize),
    Return(usize),
}

#[derive(Debug)]
struct SimulatedWorker {
    speed: f64,
    /// `None` while the worker is down.
    session: Option<SessionId>,
    waiting: VecDeque<AttemptId>,
    running: Option<AttemptId>,
}

struct SimulatedWorld<'a> {
    scheduler: Scheduler,
    now: Duration,
    shards: &'a [ShardPlan],
    fleet: &'a SimulatedFleet,
    workers: Vec<SimulatedWorker>,
    by_session: BTreeMap<SessionId, usize>,
    tasks: BTreeMap<AttemptId, TaskId>,
    /// Attempts that were cancelled before they reached their worker.
    cancelled: BTreeSet<AttemptId>,
    agenda: BTreeMap<(Duration, u64), Occurrence>,
    occurrences: u64,
    sessions: u64,
    hub: Option<HubRate>,
    /// When the hub has sent all records so far.
    hub_free: Duration,
    random: Rng,
    done: usize,
    failures: usize,
}

/// Runs `shards` on `fleet`. `hub` is how fast records are sent; `None` if sending takes no time.
///
/// # Errors
/// Fails if the scheduler gives up a task, or if nothing more happens before the run is over.
pub(crate) fn simulate(
    shards: &[ShardPlan],
    fleet: &SimulatedFleet,
    hub: Option<HubRate>,
    random: Rng,
) -> Result<SimulatedRun> {
    let config = SchedulerConfig { lease_ttl: LEASE, max_clock_step: LEASE, ..SchedulerConfig::default() };
    let workers = fleet.speeds.iter().map(|speed| SimulatedWorker {
        speed: *speed,
        session: None,
        waiting: VecDeque::new(),
        running: None,
    });
    let mut world = SimulatedWorld {
        scheduler: Scheduler::new(config),
        now: Duration::ZERO,
        shards,
        fleet,
        workers: workers.collect(),
        by_session: BTreeMap::new(),
        tasks: BTreeMap::new(),
        cancelled: BTreeSet::new(),
        agenda: BTreeMap::new(),
        occurrences: 0,
        sessions: 0,
        hub,
        hub_free: Duration::ZERO,
        random,
        done: 0,
        failures: 0,
    };
    world.handle(Event::TryStarted { try_id: TRY, group: ShareGroup::default(), trusted_only: false })?;
    for worker in 0..world.workers.len() {
        world.connect(worker)?;
    }
    for (number, shard) in shards.iter().enumerate() {
        world.plan(Duration::from_secs_f64(shard.available), Occurrence::Submit(number));
    }
    while world.done < shards.len() {
        world.step()?;
    }
    let attempts = world.tasks.len();
    Ok(SimulatedRun { makespan: world.now.as_secs_f64(), attempts, failures: world.failures })
}

impl SimulatedWorld<'_> {
    fn plan(&mut self, at: Duration, occurrence: Occurrence) {
        self.occurrences += 1;
        self.agenda.insert((at, self.occurrences), occurrence);
    }

    /// Lets the next thing happen: an occurrence, or a deadline of the scheduler.
    fn step(&mut self) -> Result<()> {
        let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.scheduler.next_deadline().map(Timestamp::since_start);
        match (next, deadline) {
            (Some(next), deadline) if deadline.is_none_or(|deadline| next <= deadline) => {
                let ((at, _), occurrence) = self.agenda.pop_first().context("the agenda is empty")?;
                self.now = self.now.max(at);
                self.carry_out(occurrence)
            }
            (_, Some(deadline)) => {
                // A deadline in the past would not let the time pass.
                self.now = deadline.max(self.now + Duration::from_micros(1));
                self.handle(Event::Tick)
            }
            (_, None) => bail!("nothing more happens, and {} of {} shards are done", self.done, self.shards.len()),
        }
    }

    fn carry_out(&mut self, occurrence: Occurrence) -> Result<()> {
        match occurrence {
            Occurrence::Submit(number) => {
                let (task, kind) = (TaskId(number as u64), TaskKind::ProveShard);
                self.handle(Event::TaskSubmitted { try_id: TRY, task, kind, marker: None, resumable_on: None })
            }
            Occurrence::Arrival { worker, session, attempt } => {
                if self.workers[worker].session == Some(session) && !self.cancelled.remove(&attempt) {
                    self.workers[worker].waiting.push_back(attempt);
                    self.start_next(worker)?;
                }
                Ok(())
            }
            Occurrence::End { worker, session, attempt } => {
                let state = &mut self.workers[worker];
                if state.session != Some(session) || state.running != Some(attempt) {
                    return Ok(());
                }
                state.running = None;
                self.handle(Event::ResultDelivered { session, attempt })?;
                self.handle(Event::ResultPassed { attempt })?;
                self.start_next(worker)
            }
            Occurrence::Failure(worker) => {
                let state = &mut self.workers[worker];
                let Some(session) = state.session.take() else { return Ok(()) };
                state.waiting.clear();
                state.running = None;
                self.failures += 1;
                self.by_session.remove(&session);
                self.plan(self.now + Duration::from_secs_f64(DOWN_SECONDS), Occurrence::Return(worker));
                self.handle(Event::SessionEnded { session })
            }
            Occurrence::Return(worker) => self.connect(worker),
        }
    }

    fn connect(&mut self, worker: usize) -> Result<()> {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.workers[worker].session = Some(session);
        self.by_session.insert(session, worker);
        if let Some(mean) = self.fleet.mean_uptime {
            let uptime = -mean * (1.0 - self.random.f64()).ln();
            self.plan(self.now + Duration::from_secs_f64(uptime), Occurrence::Failure(worker));
        }
        let number = worker as u64;
        let ready = ReadyWorker {
            worker: WorkerId(number),
            origin: OriginId(number.into()),
            trusted: false,
            comparable_bytes: 0,
            slots: 2,
            supported_kinds: KindSet::all(),
            shard_room: ShardRoom::Unknown,
            holds: Vec::new(),
        };
        self.handle(Event::WorkerReady { session, ready, resumable_tasks: Vec::new(), draining: false })
    }

    /// Starts the next attempt of a worker that proves nothing.
    fn start_next(&mut self, worker: usize) -> Result<()> {
        let state = &mut self.workers[worker];
        let Some(session) = state.session.filter(|_| state.running.is_none()) else { return Ok(()) };
        let Some(attempt) = state.waiting.pop_front() else { return Ok(()) };
        state.running = Some(attempt);
        let task = self.tasks.get(&attempt).context("an attempt without a task")?;
        let seconds = self.shards[task.0 as usize].seconds / state.speed;
        self.plan(self.now + Duration::from_secs_f64(seconds), Occurrence::End { worker, session, attempt });
        self.handle(Event::AttemptStarted { session, attempt })
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        // Workers that were stopped start their next attempt when all commands are carried out.
        let mut stopped = Vec::new();
        for command in self.scheduler.handle(Timestamp::new(self.now), event) {
            match command {
                Command::Assign { session, attempt, task, .. } => {
                    self.tasks.insert(attempt, task);
                    let worker = *self.by_session.get(&session).context("an attempt for an ended session")?;
                    let at = self.sent_at();
                    self.plan(at, Occurrence::Arrival { worker, session, attempt });
                }
                Command::Cancel { session, attempt } => {
                    let Some(worker) = self.by_session.get(&session).copied() else { continue };
                    let state = &mut self.workers[worker];
                    if state.running == Some(attempt) {
                        state.running = None;
                        stopped.push(worker);
                    } else if state.waiting.contains(&attempt) {
                        state.waiting.retain(|waiting| *waiting != attempt);
                    } else {
                        self.cancelled.insert(attempt);
                    }
                }
                Command::AcceptResult { .. } => self.done += 1,
                Command::FailTry { task, history, .. } => {
                    bail!("the scheduler gave up task {} after {} attempts", task.0, history.len())
                }
                _ => {}
            }
        }
        stopped.into_iter().try_for_each(|worker| self.start_next(worker))
    }

    /// Returns when the hub has sent another record.
    fn sent_at(&mut self) -> Duration {
        if let Some(HubRate(per_second)) = self.hub {
            self.hub_free = self.hub_free.max(self.now) + Duration::from_secs_f64(1.0 / per_second);
            return self.hub_free;
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::super::{fleet::FleetKind, shards::plan_shards};
    use super::*;

    /// Runs shards of 10 s on workers of this kind. Returns the run and the least possible time.
    fn check(kind: FleetKind, workers: usize, per_worker: usize, hub: Option<HubRate>) -> (SimulatedRun, f64) {
        let mut random = Rng::with_seed(7);
        let fleet = SimulatedFleet::new(kind, workers, 10.0, &mut random);
        let shards = plan_shards(workers * per_worker, 10.0, kind.shard_spread(), 0.0, &mut random);
        let work: f64 = shards.iter().map(|shard| shard.seconds).sum();
        let run = simulate(&shards, &fleet, hub, random).unwrap();
        (run, work / fleet.speed())
    }

    #[test]
    fn even_workers_take_the_least_possible_time() {
        let (run, bound) = check(FleetKind::Even, 4, 5, None);
        assert!((run.makespan / bound - 1.0).abs() < 0.01, "{run:?}, bound {bound}");
        assert_eq!((run.attempts, run.failures), (20, 0));
    }

    #[test]
    fn no_workers_are_faster_than_the_bound() {
        for kind in FleetKind::ALL {
            let (run, bound) = check(kind, 8, 20, None);
            assert!(run.makespan > bound * 0.999 && run.makespan < bound * 2.0, "{kind:?}: {run:?}, bound {bound}");
        }
    }

    #[test]
    fn failed_workers_cost_attempts_and_no_shards() {
        let (run, _) = check(FleetKind::Failing, 8, 60, None);
        assert!(run.failures > 0 && run.attempts > 480, "{run:?}");
    }

    #[test]
    fn a_slow_hub_is_the_limit() {
        let (run, bound) = check(FleetKind::Even, 8, 5, Some(HubRate(0.2)));
        assert!(run.makespan > 40.0 / 0.2 && bound < 60.0, "{run:?}, bound {bound}");
    }
}
