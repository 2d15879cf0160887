//! The main loop of a simulated world. It processes one event at a time.

use crate::{
    dice::{Dice, Purpose},
    driver::{Driver, Outcome, Sabotage},
    fault::{self, Planned},
    happening::{Happening, MachineId, ToOrchestrator},
    invariant::{Invariants, Violation},
    link::{Direction, Link},
    machine::Machine,
    net::Net,
    plan::Plan,
    queue::Queue,
    run::{Report, Trace},
    setting::Setting,
};
use scheduler::{Timestamp, WorkerId};
use std::{collections::BTreeMap, time::Duration};

/// The orchestrator, machines and work of a seed, and everything that is scheduled to happen to them.
pub(crate) struct World {
    pub(crate) setting: Setting,
    pub(crate) plan: Plan,
    pub(crate) faults: Vec<Planned>,
    pub(crate) net: Net,
    pub(crate) machines: Vec<Machine>,
    pub(crate) driver: Driver,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Option<Trace>, sabotage: Sabotage) -> Self {
        let setting = Setting::draw(seed);
        let plan = Plan::draw(seed, &setting);
        let mut dice = Dice::new(seed, Purpose::Machines);
        let mut net = Net {
            now: Timestamp::default(),
            queue: Queue::new(),
            links: (0..setting.workers).map(|_| Link::draw(&mut dice)).collect(),
            dice: Dice::new(seed, Purpose::World),
            unsafe_phase: true,
            faults: BTreeMap::new(),
            trace,
        };
        let mut machines: Vec<Machine> =
            (0..setting.workers).map(|at| Machine::draw(MachineId(at), &mut dice)).collect();
        let end_ms = u64::try_from(setting.safety.as_millis()).expect("a phase lasts two minutes at most");
        for machine in &mut machines {
            let late = machine.id.0 > 0 && dice.chance(300);
            let first_dial = dice.ms(0..=if late { end_ms * 7 / 10 } else { 2000 });
            machine.await_dial(first_dial, &mut net);
        }
        for (proof, entry) in &plan.proofs {
            net.after(entry.begins, Happening::ProofBegins(*proof));
        }
        let faults = fault::draw(seed, &setting);
        for (at, fault) in faults.iter().enumerate() {
            net.after(fault.at, Happening::Strike(at));
        }
        net.after(setting.safety, Happening::Heal);
        net.note(|| {
            let (workers, tasks, proofs) = (setting.workers, plan.tasks.len(), plan.proofs.len());
            format!("seed {seed}: {workers} workers, {proofs} proofs of {tasks} tasks, {:?}", setting.config)
        });
        let invariants = Invariants::all(Timestamp::new(setting.safety + patience(&setting, &plan)));
        let driver = Driver::new(setting.config, invariants, sabotage);
        Self { setting, plan, faults, net, machines, driver }
    }

    /// Runs until every proof has ended and the safety phase is over.
    pub(crate) fn run(mut self) -> Result<Report, Violation> {
        while self.net.unsafe_phase || !self.driver.is_over(&self.plan) {
            match (self.driver.next_tick(), self.net.queue.next_time()) {
                (Some(tick), next) if next.is_none_or(|next| tick < next) => {
                    self.net.now = self.net.now.max(tick);
                    self.driver.tick(&self.plan, &mut self.net)?;
                }
                _ => {
                    let Some((at, happening)) = self.net.queue.take() else { break };
                    self.net.now = at;
                    self.happen(happening)?;
                }
            }
        }
        self.driver.finish(&self.plan, &self.net)?;
        Ok(self.report())
    }

    fn report(self) -> Report {
        let count = |wanted| self.driver.outcomes.values().filter(|outcome| **outcome == wanted).count() as u64;
        Report {
            seeds: 1,
            steps: self.driver.steps,
            virtual_seconds: self.net.now.since_origin().as_secs(),
            complete: count(Outcome::Complete),
            failed: count(Outcome::Failed),
            failed_of_poison: self.failed_of_poison(),
            cancelled: count(Outcome::Cancelled),
            digest: self.driver.digest.0,
            marks: self.driver.coverage.marks(),
            faults: self.net.faults,
        }
    }

    fn failed_of_poison(&self) -> u64 {
        let failed = self.driver.outcomes.iter().filter(|(_, outcome)| **outcome == Outcome::Failed);
        failed.filter(|(proof, _)| self.plan.proofs[proof].poisoned).count() as u64
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        let thaws = happening.process().map(|machine| self.machines[machine.0].frozen_until);
        let frozen = happening.is_the_orchestrators().then_some(self.driver.frozen_until);
        if let Some(later) = thaws.max(frozen).filter(|later| *later > self.net.now) {
            self.net.at(later, happening);
            return Ok(());
        }
        let Self { plan, net, machines, driver, setting, .. } = self;
        match happening {
            Happening::Said { session, message } => driver.hear(session, message, plan, net)?,
            Happening::Told { machine, session, message } => machines[machine.0].told(session, message, plan, net),
            Happening::Beat { machine, session } => self.beat(machine, session)?,
            Happening::Marker { machine, attempt } => machines[machine.0].complete_marker(attempt, net),
            Happening::JobEnd { machine, attempt } => machines[machine.0].end_job(attempt, plan, net),
            Happening::ProverUp { machine } => machines[machine.0].prover_up(plan, net),
            Happening::GiveUp { machine, session } => self.give_up(machine, session),
            Happening::PowerOn { machine } => {
                machines[machine.0].powered = true;
                let delay = net.dice.ms(100..=2000);
                machines[machine.0].await_dial(delay, net);
            }
            Happening::Dial { machine } => {
                let link = net.link(machine);
                let ways = [Direction::ToOrchestrator, Direction::ToWorker];
                let open = ways.map(|way| link.blocked_until(way)).into_iter().max().unwrap_or_default();
                if open > net.now {
                    net.at(open + Duration::from_millis(200), happening);
                } else if machines[machine.0].answer_dial() {
                    let session = driver.open(machine);
                    machines[machine.0].join(session, setting, net);
                }
            }
            Happening::ProofBegins(proof) => driver.begin(proof, plan, net)?,
            Happening::Submit(task) => driver.submit(task, plan, net)?,
            Happening::ProofCancelled(proof) => driver.cancel(proof, net),
            Happening::ProofOver(proof) => driver.end(proof, plan, net)?,
            Happening::Verdict { attempt, good } => driver.on_verdict(attempt, good, plan, net)?,
            Happening::Resume(worker) => driver.resume(worker, plan, net)?,
            Happening::ResumeAll => driver.resume_all(plan, net)?,
            Happening::Echo(event) => driver.decide_once(event, plan, net)?,
            Happening::Strike(at) => self.strike(self.faults[at])?,
            Happening::Heal => self.heal(),
        }
        Ok(())
    }

    /// Sends a heartbeat and schedules the next one.
    fn beat(&mut self, id: MachineId, session: WorkerId) -> Result<(), Violation> {
        if self.machines[id.0].session != Some(session) {
            return Ok(());
        }
        self.net.after(self.setting.heartbeat, Happening::Beat { machine: id, session });
        let blocked = self.net.link(id).blocked_until(Direction::ToOrchestrator) > self.net.now;
        if blocked || self.driver.frozen_until > self.net.now {
            self.net.say(id, session, ToOrchestrator::Heartbeat);
            return Ok(());
        }
        // Heartbeats are so frequent that they skip the queue. Their latency of some milliseconds makes no difference.
        self.driver.hear(session, ToOrchestrator::Heartbeat, &self.plan, &mut self.net)
    }

    /// The worker closes its connection if it still receives nothing.
    fn give_up(&mut self, id: MachineId, session: WorkerId) {
        let Self { net, machines, driver, .. } = self;
        let cut_off = net.link(id).blocked_until(Direction::ToWorker) > net.now;
        let machine = &mut machines[id.0];
        if machine.session == Some(session) && (cut_off || driver.frozen_until > net.now) {
            net.note(|| format!("{session} receives nothing and closes its connection"));
            let redial = net.dice.ms(200..=2000);
            machine.leave(redial, net);
            net.say(id, session, ToOrchestrator::Closed);
        }
    }

    /// Starts the liveness phase. Nothing new breaks. Frozen and crashed machines recover at their planned times.
    fn heal(&mut self) {
        let Self { plan, net, machines, .. } = self;
        net.note(|| "no more faults strike".to_owned());
        net.unsafe_phase = false;
        net.links.iter_mut().for_each(Link::heal);
        for machine in machines {
            machine.heal(plan, net);
        }
        net.after(Duration::ZERO, Happening::ResumeAll);
    }
}

/// Returns how long after the last fault every proof must have ended. Enough for the slowest machine to do all work
/// more than once, and for 20 quarantines of the maximum duration.
fn patience(setting: &Setting, plan: &Plan) -> Duration {
    let quarantines = setting.config.quarantine.map_or(Duration::ZERO, |rules| rules.longest * 20);
    Duration::from_secs(600) + quarantines + plan.work() * 50
}
