//! A simulated worker and how it reacts to messages.

use super::{
    message::{ToOrchestrator, ToWorker},
    net::Net,
    world_event::WorldEvent,
};
use crate::scenario::{Claims, Dice, Lie, MachineId, Plan, Value, WorldParameters, mixed};
use sp1d_scheduler::{
    AttemptId, FailureKind, KindSet, OriginId, ReadyWorker, SessionId, ShardRoom, TaskId, TaskKind, Timestamp, WorkerId,
};
use std::time::Duration;

/// The problems of a machine, and when each ends.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ills {
    /// Until when tasks take longer, and by which factor.
    pub(crate) slow: Option<(Timestamp, u32)>,
    pub(crate) lies: Option<(Timestamp, Lie)>,
    pub(crate) fails_until: Timestamp,
    /// No markers are completed until then.
    pub(crate) mute_until: Timestamp,
    /// The deferred claims of every attempt are wrong until then.
    pub(crate) wrong_markers_until: Timestamp,
    /// The next attempt never ends.
    pub(crate) hangs: bool,
    /// Until then, every attempt kills the process, which is restarted at once.
    pub(crate) dies_until: Timestamp,
    /// Until then, every attempt kills the prover, which is restarted.
    pub(crate) prover_dies_until: Timestamp,
    /// No attempt starts until then.
    pub(crate) starts_nothing_until: Timestamp,
}

/// Difference between the identities of two names of one machine. Larger than the number of machines.
const NAME_STEP: u64 = 1 << 20;

/// A worker process and the machine it runs on.
#[derive(Debug)]
pub(crate) struct SimMachine {
    pub(crate) id: MachineId,
    /// Where the orchestrator sees the machine. Several machines may have the same origin.
    pub(crate) origin: OriginId,
    /// The identity that belongs to the present name of its worker.
    worker: WorkerId,
    pub(crate) session: Option<SessionId>,
    pub(crate) powered: bool,
    pub(crate) frozen_until: Timestamp,
    pub(crate) ills: Ills,
    supported_kinds: KindSet,
    /// Memory available to one attempt, in units. Most tasks need one unit.
    memory: u64,
    /// True while the prover restarts.
    starting: bool,
    /// How many attempts the orchestrator may assign.
    slots: u32,
    /// How many attempts are proven at the same time.
    proving_places: usize,
    /// Duration of a task on this machine, in percent of the usual duration.
    percent: u32,
    /// True while a dial of the orchestrator is scheduled.
    dialed: bool,
    jobs: Vec<MachineJob>,
}

/// An attempt on its worker.
#[derive(Debug, Clone, Copy)]
struct MachineJob {
    attempt: AttemptId,
    task: TaskId,
    /// The session that may receive messages about this attempt.
    session: SessionId,
    stage: JobStage,
    marker: MarkerStage,
    /// True if it was cancelled too late to stop it.
    dropped: bool,
}

#[derive(Debug, Clone, Copy)]
enum JobStage {
    Waiting,
    Runs {
        ends: Timestamp,
        hung: bool,
        ending: AttemptEnding,
    },
    /// It has ended, but the orchestrator may not know yet.
    Ended(AttemptEnding),
}

#[derive(Debug, Clone, Copy)]
enum AttemptEnding {
    Result(Option<Value>),
    Failure(FailureKind, &'static str),
    OutOfMemory,
    /// The whole process dies.
    Death,
    /// Only the prover dies.
    ProverDeath,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MarkerStage {
    /// The task has no marker, or the machine withholds it.
    None,
    Due,
    /// It was reported with these claims.
    Reported(Claims),
}

impl SimMachine {
    /// Machine 0 supports all tasks and has the maximum memory, so that every proof can finish.
    pub(crate) fn draw(id: MachineId, dice: &mut Dice) -> Self {
        let slots = dice.pick(&[1, 2, 3, 4]);
        let shards_only = id.0 > 0 && dice.chance(150);
        let percent = match dice.number(0..=9) {
            0 => dice.number(400..=1000),
            1..=3 => dice.number(120..=300),
            _ => dice.number(70..=120),
        };
        Self {
            id,
            origin: OriginId(id.0 as u128),
            worker: WorkerId(id.0 as u64 + 1),
            session: None,
            powered: true,
            frozen_until: Timestamp::default(),
            ills: Ills::default(),
            supported_kinds: if shards_only {
                TaskKind::ALL.into_iter().filter(|kind| kind.is_shard()).collect()
            } else {
                KindSet::all()
            },
            memory: if id.0 == 0 { 3 } else { dice.number(1..=3) },
            starting: false,
            slots,
            proving_places: if slots > 1 && dice.chance(300) { 2 } else { 1 },
            percent: u32::try_from(percent).expect("the number was drawn from a small range"),
            dialed: false,
            jobs: Vec::new(),
        }
    }

    pub(crate) fn is_up(&self, now: Timestamp) -> bool {
        self.powered && self.frozen_until <= now
    }

    /// Schedules a dial of the orchestrator after `delay`, unless a dial is already scheduled.
    pub(crate) fn await_dial(&mut self, delay: Duration, net: &mut Net) {
        if !std::mem::replace(&mut self.dialed, true) {
            net.after(delay, WorldEvent::Dial { machine: self.id });
        }
    }

    /// The orchestrator dials. Returns false if the machine cannot accept the connection.
    pub(crate) const fn answer_dial(&mut self) -> bool {
        self.dialed = false;
        self.powered && self.session.is_none()
    }

    /// Starts a session, in which the worker is ready.
    pub(crate) fn become_ready(&mut self, session: SessionId, parameters: &WorldParameters, net: &mut Net) {
        self.session = Some(session);
        net.link(self.id).connected = Some(session);
        let holds = self.jobs.iter().filter(|job| !job.dropped).map(|job| job.attempt).collect();
        let Self { worker, origin, memory: comparable_bytes, slots, supported_kinds, .. } = *self;
        let ready = ReadyWorker {
            worker,
            origin,
            // Machine 0 is always trusted, so that every proof can finish. The others may be trusted in one session and
            // not in the next one: their certificates are replaced.
            trusted: self.id.0 == 0 || !mixed(session.0).is_multiple_of(3),
            comparable_bytes,
            shard_room: ShardRoom::Unknown,
            slots,
            supported_kinds,
            holds,
        };
        net.report(self.id, session, ToOrchestrator::Connected(ready));
        if self.starting {
            net.report(self.id, session, ToOrchestrator::Unready);
        }
        let first = net.dice.ms(1..=1000).min(parameters.heartbeat);
        net.after(first, WorldEvent::Beat { machine: self.id, session });
    }

    /// The worker notices that its connection is closed. It continues its attempts.
    pub(crate) fn leave(&mut self, redial: Duration, net: &mut Net) {
        self.session = None;
        net.link(self.id).connected = None;
        self.await_dial(redial, net);
    }

    /// The process ends with all its attempts.
    pub(crate) fn crash(&mut self, net: &mut Net) {
        self.session = None;
        self.powered = false;
        self.frozen_until = Timestamp::default();
        self.ills.hangs = false;
        self.starting = false;
        self.jobs.clear();
        net.link(self.id).connected = None;
    }

    /// The worker has another name when it starts again.
    pub(crate) fn rename(&mut self) {
        self.worker = WorkerId(self.worker.0 + NAME_STEP);
    }

    /// The process stops for the duration `lasts`. Running attempts end later by that duration.
    pub(crate) fn freeze(&mut self, lasts: Duration, now: Timestamp) {
        self.frozen_until = now + lasts;
        for job in &mut self.jobs {
            if let JobStage::Runs { ends, .. } = &mut job.stage {
                *ends = *ends + lasts;
            }
        }
    }

    /// Tasks take `factor` times as long. This also applies to the remaining time of running attempts.
    pub(crate) fn slow_down(&mut self, factor: u32, until: Timestamp, now: Timestamp) {
        self.ills.slow = Some((until, factor));
        for job in &mut self.jobs {
            if let JobStage::Runs { ends, .. } = &mut job.stage {
                *ends = now + ends.saturating_since(now) * factor;
            }
        }
    }

    /// One running attempt hangs. If no attempt is running, the next one hangs.
    pub(crate) fn hang(&mut self) {
        let running = self.jobs.iter_mut().find_map(|job| match &mut job.stage {
            JobStage::Runs { hung, .. } => Some(hung),
            JobStage::Waiting | JobStage::Ended(_) => None,
        });
        match running {
            Some(hung) => *hung = true,
            None => self.ills.hangs = true,
        }
    }

    /// The prover dies with all running attempts. It is restarted after a while.
    pub(crate) fn lose_prover(&mut self, net: &mut Net) {
        self.starting = true;
        if let Some(session) = self.session {
            net.report(self.id, session, ToOrchestrator::Unready);
        }
        for job in &mut self.jobs {
            if let JobStage::Runs { .. } = job.stage {
                let ends = net.now;
                job.stage = JobStage::Runs {
                    ends,
                    hung: false,
                    ending: AttemptEnding::Failure(FailureKind::Killed, "the prover was killed"),
                };
                net.at(ends, WorldEvent::JobEnd { machine: self.id, attempt: job.attempt });
            }
        }
        let loads = net.dice.ms(1000..=12_000);
        net.after(loads, WorldEvent::ProverUp { machine: self.id });
    }

    /// The prover is loaded again.
    pub(crate) fn prover_up(&mut self, plan: &Plan, net: &mut Net) {
        if !std::mem::take(&mut self.starting) {
            return;
        }
        if let Some(session) = self.session {
            net.report(self.id, session, ToOrchestrator::Ready);
        }
        self.start_waiting(plan, net);
    }

    /// Removes all problems. Attempts that hang or became slow now take at most the usual time, counted from now.
    pub(crate) fn heal(&mut self, plan: &Plan, net: &mut Net) {
        self.ills = Ills::default();
        self.start_waiting(plan, net);
        for at in 0..self.jobs.len() {
            let MachineJob { attempt, task, stage: JobStage::Runs { ends, hung, ending }, .. } = self.jobs[at] else {
                continue;
            };
            let usual = net.now + self.takes(task, plan, net);
            let ends = if hung { usual } else { ends.min(usual) };
            self.jobs[at].stage = JobStage::Runs { ends, hung: false, ending };
            net.at(ends, WorldEvent::JobEnd { machine: self.id, attempt });
        }
    }

    /// Handles a message of the orchestrator. The message may belong to an ended session.
    pub(crate) fn receive(&mut self, session: SessionId, message: ToWorker, plan: &Plan, net: &mut Net) {
        if self.session != Some(session) {
            return;
        }
        match message {
            ToWorker::Assign { attempt, task } => {
                let (stage, marker) = (JobStage::Waiting, MarkerStage::None);
                self.jobs.push(MachineJob { attempt, task, session, stage, marker, dropped: false });
            }
            ToWorker::Cancel(attempt) => self.cancel(attempt, net),
            ToWorker::Continue(attempt) => self.continue_attempt(attempt, session, net),
            ToWorker::Received(attempt) => {
                self.jobs.retain(|job| job.attempt != attempt || !matches!(job.stage, JobStage::Ended(_)));
            }
            ToWorker::Close => {
                let redial = net.dice.ms(200..=2000);
                self.leave(redial, net);
            }
        }
        self.start_waiting(plan, net);
    }

    fn cancel(&mut self, attempt: AttemptId, net: &mut Net) {
        let Some(at) = self.jobs.iter().position(|job| job.attempt == attempt) else { return };
        // A proving stage cannot be interrupted. It runs to its end without effect.
        if matches!(self.jobs[at].stage, JobStage::Runs { .. }) && net.dice.chance(300) {
            self.jobs[at].dropped = true;
        } else {
            self.jobs.remove(at);
        }
    }

    /// `session` continues an attempt of an earlier session. Repeats all messages about it that may have been lost.
    fn continue_attempt(&mut self, attempt: AttemptId, session: SessionId, net: &mut Net) {
        let Some(job) = self.jobs.iter_mut().find(|job| job.attempt == attempt) else { return };
        job.session = session;
        let job = *job;
        if matches!(job.stage, JobStage::Waiting) {
            return;
        }
        net.report(self.id, session, ToOrchestrator::Started(attempt));
        if let MarkerStage::Reported(claims) = job.marker {
            net.report(self.id, session, ToOrchestrator::Marker { attempt, claims: Some(claims) });
        }
        if let JobStage::Ended(ending) = job.stage {
            net.report(self.id, session, report_of(attempt, ending));
        }
    }

    pub(crate) fn start_waiting(&mut self, plan: &Plan, net: &mut Net) {
        if self.starting || self.ills.starts_nothing_until > net.now {
            return;
        }
        loop {
            let running = self.jobs.iter().filter(|job| matches!(job.stage, JobStage::Runs { .. })).count();
            let waiting = self.jobs.iter().position(|job| matches!(job.stage, JobStage::Waiting));
            let Some(at) = waiting.filter(|_| running < self.proving_places) else { return };
            let MachineJob { attempt, task, session, .. } = self.jobs[at];
            let ending = self.ending(task, plan, net);
            let mut takes = self.takes(task, plan, net);
            if !matches!(ending, AttemptEnding::Result(_)) {
                takes /= 4;
            }
            let hung = std::mem::take(&mut self.ills.hangs);
            let ends = net.now + takes;
            self.jobs[at].stage = JobStage::Runs { ends, hung, ending };
            if plan.tasks[&task].marker.is_some() && self.ills.mute_until <= net.now {
                self.jobs[at].marker = MarkerStage::Due;
                let percent = u32::try_from(net.dice.number(20..=90)).expect("the number was drawn from a small range");
                net.after(takes * percent / 100, WorldEvent::Marker { machine: self.id, attempt });
            }
            net.at(ends, WorldEvent::JobEnd { machine: self.id, attempt });
            if self.session == Some(session) {
                net.report(self.id, session, ToOrchestrator::Started(attempt));
            }
        }
    }

    /// Returns how long `task` takes on this machine now.
    fn takes(&self, task: TaskId, plan: &Plan, net: &mut Net) -> Duration {
        let factor = self.ills.slow.filter(|(until, _)| *until > net.now).map_or(1, |(_, factor)| factor);
        let luck = u32::try_from(net.dice.number(85..=115)).expect("the number was drawn from a small range");
        plan.tasks[&task].work * self.percent * factor / 100 * luck / 100
    }

    fn ending(&self, task: TaskId, plan: &Plan, net: &mut Net) -> AttemptEnding {
        let now = net.now;
        if plan.tasks[&task].poison {
            return AttemptEnding::Failure(FailureKind::Engine, "poison");
        }
        if plan.tasks[&task].memory > self.memory {
            return AttemptEnding::OutOfMemory;
        }
        if self.ills.dies_until > now {
            return AttemptEnding::Death;
        }
        if self.ills.prover_dies_until > now {
            return AttemptEnding::ProverDeath;
        }
        if self.ills.fails_until > now {
            return AttemptEnding::Failure(FailureKind::Engine, "every attempt fails on this machine");
        }
        if net.unsafe_phase && net.dice.chance(3) {
            net.count("failed attempt");
            if net.dice.chance(300) {
                return AttemptEnding::Failure(FailureKind::Unsupported, "the machine does not support this task");
            }
            return AttemptEnding::Failure(FailureKind::Engine, "bad luck");
        }
        AttemptEnding::Result(match self.ills.lies.filter(|(until, _)| *until > now) {
            None => Some(Value::of(task)),
            Some((_, Lie::Wrong)) => Some(Value(net.dice.number(0..=u64::MAX))),
            Some((_, Lie::OfOther)) => Some(Value::of(TaskId(task.0 + 1))),
            Some((_, Lie::Nothing)) => None,
        })
    }

    /// The attempt reaches its marker, if it still exists.
    pub(crate) fn complete_marker(&mut self, attempt: AttemptId, plan: &Plan, net: &mut Net) {
        let Some(job) = self.jobs.iter_mut().find(|job| job.attempt == attempt) else { return };
        if job.marker == MarkerStage::Due && !job.dropped {
            let claims = if self.ills.wrong_markers_until > net.now {
                // Claims that are not compared must be malformed, because only a comparison finds other wrong claims.
                let compares = plan.tries[&plan.tasks[&job.task].try_id].compares;
                Claims::wrong(job.task, self.origin, !compares || net.dice.chance(300))
            } else {
                Claims::of(job.task)
            };
            job.marker = MarkerStage::Reported(claims);
            if self.session == Some(job.session) {
                net.report(self.id, job.session, ToOrchestrator::Marker { attempt, claims: Some(claims) });
            }
        }
    }

    /// The attempt ends, if it still exists and was not delayed.
    pub(crate) fn end_job(&mut self, attempt: AttemptId, plan: &Plan, net: &mut Net) {
        let Some(at) = self.jobs.iter().position(|job| job.attempt == attempt) else { return };
        let JobStage::Runs { ends, hung: false, ending } = self.jobs[at].stage else { return };
        if ends > net.now {
            net.at(ends, WorldEvent::JobEnd { machine: self.id, attempt });
            return;
        }
        if let AttemptEnding::Death = ending {
            let session = self.session;
            self.crash(net);
            if let Some(session) = session {
                net.report(self.id, session, ToOrchestrator::Closed);
            }
            let away = net.dice.ms(100..=500);
            return net.after(away, WorldEvent::PowerOn { machine: self.id });
        }
        if let AttemptEnding::ProverDeath = ending {
            // The death of the prover also ends all other running attempts.
            return self.lose_prover(net);
        }
        if self.jobs[at].dropped {
            self.jobs.remove(at);
        } else {
            if let AttemptEnding::Result(_) = ending {
                // A result never precedes its marker, even if the marker was delayed.
                self.complete_marker(attempt, plan, net);
            }
            self.jobs[at].stage = JobStage::Ended(ending);
            let session = self.jobs[at].session;
            if self.session == Some(session) {
                net.report(self.id, session, report_of(attempt, ending));
            }
        }
        self.start_waiting(plan, net);
    }
}

fn report_of(attempt: AttemptId, ending: AttemptEnding) -> ToOrchestrator {
    match ending {
        AttemptEnding::Result(value) => ToOrchestrator::Reported { attempt, value },
        AttemptEnding::Failure(kind, text) => ToOrchestrator::Failed { attempt, kind, text },
        AttemptEnding::OutOfMemory => ToOrchestrator::OutOfMemory(attempt),
        AttemptEnding::Death | AttemptEnding::ProverDeath => unreachable!("a dead process sends no message"),
    }
}
