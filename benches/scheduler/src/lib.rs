//! A busy worker pool, for measuring how long the scheduler needs for an event.

use sp1d_scheduler::{
    AttemptId, Command, Event, KindSet, OriginId, ReadyWorker, Scheduler, SchedulerConfig, SessionId, ShardRoom,
    ShareGroup, TaskId, TaskKind, Timestamp, TryId, WorkerId,
};
use std::{collections::VecDeque, time::Duration};

/// A scheduler whose workers are all busy and whose queue keeps its length.
pub struct Pool {
    scheduler: Scheduler,
    now: Duration,
    next_task: u64,
    /// The running attempts, the oldest first.
    running: VecDeque<(SessionId, AttemptId)>,
}

/// Number of events sent by one [`Pool::step`].
pub const EVENTS_PER_STEP: u64 = 5;

const TRY: TryId = TryId(1);

impl Pool {
    /// Creates a pool of `workers` workers with two slots each, and `queued` tasks beyond those that the workers hold.
    #[must_use]
    pub fn new(workers: u64, queued: u64) -> Self {
        let scheduler =
            Scheduler::new(SchedulerConfig { lease_ttl: Duration::from_secs(3600), ..SchedulerConfig::default() });
        let mut pool = Self { scheduler, now: Duration::ZERO, next_task: 0, running: VecDeque::new() };
        pool.handle(Event::TryStarted { try_id: TRY, group: ShareGroup::default(), trusted_only: false });
        for number in 1..=workers {
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
            let (session, resumable_tasks) = (SessionId(number), Vec::new());
            pool.handle(Event::WorkerReady { session, ready, resumable_tasks, draining: false });
        }
        for _ in 0..queued + 2 * workers {
            pool.submit();
        }
        // After these steps every worker's speed is known and all initial attempts have started.
        for _ in 0..2 * workers {
            pool.step();
        }
        pool
    }

    fn handle(&mut self, event: Event) {
        for command in self.scheduler.handle(Timestamp::new(self.now), event) {
            if let Command::Assign { session, attempt, .. } = command {
                self.running.push_back((session, attempt));
            }
        }
    }

    fn submit(&mut self) {
        self.next_task += 1;
        let task = TaskId(self.next_task);
        let kind = TaskKind::ProveShard;
        self.handle(Event::TaskSubmitted { try_id: TRY, task, kind, marker: None, resumable_on: None });
    }

    /// Runs one step: the oldest attempt starts, its worker renews its lease, a new task is submitted, and the attempt
    /// delivers a result that is verified. The free slot takes another task.
    pub fn step(&mut self) {
        let (session, attempt) =
            self.running.pop_front().expect("the queue is never empty, so an attempt is always running");
        // Workers differ slightly in speed.
        self.now += Duration::from_micros(100 + session.0 % 7);
        self.handle(Event::AttemptStarted { session, attempt });
        self.handle(Event::LeaseRenewed { session });
        self.submit();
        self.handle(Event::ResultDelivered { session, attempt });
        self.handle(Event::ResultPassed { attempt });
    }

    /// Returns the number of waiting tasks.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.scheduler.counts().queued_tasks
    }
}
