//! The main loop of a simulated world. It processes one event at a time.

use super::report::SimReport;
use crate::{
    cluster::{Agenda, Direction, Net, SimLink, SimMachine, ToOrchestrator, Trace, WorldEvent},
    driver::{Driver, Sabotage},
    invariant::{Invariants, SimOutcome, Violation},
    scenario::{Dice, MachineId, Plan, PlannedFault, Purpose, WorldParameters, draw_faults},
};
use sp1d_scheduler::{OriginId, SessionId, Timestamp};
use std::{collections::BTreeMap, time::Duration};

/// The orchestrator, machines and work of a seed, and everything that is scheduled to happen to them.
pub(crate) struct World {
    pub(crate) parameters: WorldParameters,
    pub(crate) plan: Plan,
    pub(crate) faults: Vec<PlannedFault>,
    pub(crate) net: Net,
    pub(crate) machines: Vec<SimMachine>,
    pub(crate) driver: Driver,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Option<Trace>, sabotage: Sabotage) -> Self {
        let parameters = WorldParameters::draw(seed);
        let plan = Plan::draw(seed, &parameters);
        let mut dice = Dice::new(seed, Purpose::Machines);
        let mut net = Net {
            now: Timestamp::default(),
            queue: Agenda::new(),
            links: (0..parameters.workers).map(|_| SimLink::draw(&mut dice)).collect(),
            dice: Dice::new(seed, Purpose::World),
            unsafe_phase: true,
            faults: BTreeMap::new(),
            trace,
        };
        let mut machines: Vec<SimMachine> =
            (0..parameters.workers).map(|at| SimMachine::draw(MachineId(at), &mut dice)).collect();
        share_origins(seed, &parameters, &mut machines);
        let end_ms = u64::try_from(parameters.safety.as_millis()).expect("a phase lasts two minutes at most");
        for machine in &mut machines {
            let late = machine.id.0 > 0 && dice.chance(300);
            let first_dial = dice.ms(0..=if late { end_ms * 7 / 10 } else { 2000 });
            machine.await_dial(first_dial, &mut net);
        }
        for (try_id, entry) in &plan.tries {
            net.after(entry.starts, WorldEvent::TryStarts(*try_id));
        }
        let faults = draw_faults(seed, &parameters);
        for (at, fault) in faults.iter().enumerate() {
            net.after(fault.at, WorldEvent::Strike(at));
        }
        net.after(parameters.safety, WorldEvent::Heal);
        net.note(|| {
            let (workers, tasks, tries) = (parameters.workers, plan.tasks.len(), plan.tries.len());
            format!("seed {seed}: {workers} workers, {tries} proofs of {tasks} tasks, {:?}", parameters.config)
        });
        let invariants = Invariants::all(Timestamp::new(parameters.safety + patience(&parameters, &plan)));
        let driver = Driver::new(parameters.config, invariants, sabotage);
        Self { parameters, plan, faults, net, machines, driver }
    }

    /// Runs until every proof has ended and the safety phase is over.
    pub(crate) fn run(mut self) -> Result<SimReport, Violation> {
        while self.net.unsafe_phase || !self.driver.is_over(&self.plan) {
            match (self.driver.next_tick(), self.net.queue.next_time()) {
                (Some(tick), next) if next.is_none_or(|next| tick < next) => {
                    self.net.now = self.net.now.max(tick);
                    self.driver.tick(&self.plan, &mut self.net)?;
                }
                _ => {
                    let Some((at, event)) = self.net.queue.take() else { break };
                    self.net.now = at;
                    self.handle(event)?;
                }
            }
        }
        self.driver.finish(&self.plan, &self.net)?;
        Ok(self.report())
    }

    fn report(self) -> SimReport {
        let count = |wanted| self.driver.outcomes.values().filter(|outcome| **outcome == wanted).count() as u64;
        SimReport {
            seeds: 1,
            steps: self.driver.steps,
            virtual_seconds: self.net.now.since_start().as_secs(),
            complete: count(SimOutcome::Complete),
            failed: count(SimOutcome::Failed),
            failed_of_poison: self.failed_of_poison(),
            cancelled: count(SimOutcome::Cancelled),
            digest: self.driver.digest.0,
            marks: self.driver.coverage.marks(),
            faults: self.net.faults,
        }
    }

    fn failed_of_poison(&self) -> u64 {
        let failed = self.driver.outcomes.iter().filter(|(_, outcome)| **outcome == SimOutcome::Failed);
        failed.filter(|(try_id, _)| self.plan.tries[try_id].poisoned).count() as u64
    }

    fn handle(&mut self, event: WorldEvent) -> Result<(), Violation> {
        let thaws = event.process().map(|machine| self.machines[machine.0].frozen_until);
        let frozen = event.is_the_orchestrators().then_some(self.driver.frozen_until);
        if let Some(later) = thaws.max(frozen).filter(|later| *later > self.net.now) {
            self.net.at(later, event);
            return Ok(());
        }
        let Self { plan, net, machines, driver, parameters, .. } = self;
        match event {
            WorldEvent::ReachesOrchestrator { session, message } => driver.hear(session, message, plan, net)?,
            WorldEvent::ReachesWorker { machine, session, message } => {
                machines[machine.0].receive(session, message, plan, net)
            }
            WorldEvent::Beat { machine, session } => self.beat(machine, session)?,
            WorldEvent::Marker { machine, attempt } => machines[machine.0].complete_marker(attempt, plan, net),
            WorldEvent::JobEnd { machine, attempt } => machines[machine.0].end_job(attempt, plan, net),
            WorldEvent::ProverUp { machine } => machines[machine.0].prover_up(plan, net),
            WorldEvent::GiveUp { machine, session } => self.give_up(machine, session),
            WorldEvent::PowerOn { machine } => {
                machines[machine.0].powered = true;
                let delay = net.dice.ms(100..=2000);
                machines[machine.0].await_dial(delay, net);
            }
            WorldEvent::Dial { machine } => {
                let link = net.link(machine);
                let ways = [Direction::ToOrchestrator, Direction::ToWorker];
                let open = ways.map(|way| link.blocked_until(way)).into_iter().max().unwrap_or_default();
                if open > net.now {
                    net.at(open + Duration::from_millis(200), event);
                } else if machines[machine.0].answer_dial() {
                    let session = driver.open(machine);
                    machines[machine.0].become_ready(session, parameters, net);
                }
            }
            WorldEvent::TryStarts(try_id) => driver.start_try(try_id, plan, net)?,
            WorldEvent::Submit(task) => driver.submit(task, plan, net)?,
            WorldEvent::TryCancelled(try_id) => driver.cancel(try_id, net),
            WorldEvent::TryOver(try_id) => driver.end(try_id, plan, net)?,
            WorldEvent::ResultChecked { attempt, good } => driver.on_result_checked(attempt, good, plan, net)?,
            WorldEvent::CheckDelayed { attempt } => driver.on_check_delayed(attempt, plan, net)?,
            WorldEvent::DeferredEventsChecked { attempt, task } => {
                driver.on_deferred_events_checked(attempt, task, plan, net)?;
            }
            WorldEvent::Resume(session) => driver.resume(session, plan, net)?,
            WorldEvent::ResumeAll => driver.resume_all(plan, net)?,
            WorldEvent::Echo(event) => driver.report_once(event, plan, net)?,
            WorldEvent::Strike(at) => self.strike(self.faults[at])?,
            WorldEvent::Heal => self.heal(),
        }
        Ok(())
    }

    /// Sends a heartbeat and schedules the next one.
    fn beat(&mut self, id: MachineId, session: SessionId) -> Result<(), Violation> {
        if self.machines[id.0].session != Some(session) {
            return Ok(());
        }
        self.net.after(self.parameters.heartbeat, WorldEvent::Beat { machine: id, session });
        let blocked = self.net.link(id).blocked_until(Direction::ToOrchestrator) > self.net.now;
        if blocked || self.driver.frozen_until > self.net.now {
            self.net.report(id, session, ToOrchestrator::Heartbeat);
            return Ok(());
        }
        // Heartbeats are so frequent that they skip the queue. Their latency of some milliseconds makes no difference.
        self.driver.hear(session, ToOrchestrator::Heartbeat, &self.plan, &mut self.net)
    }

    /// The worker closes its connection if it still receives nothing.
    fn give_up(&mut self, id: MachineId, session: SessionId) {
        let Self { net, machines, driver, .. } = self;
        let is_blocked = net.link(id).blocked_until(Direction::ToWorker) > net.now;
        let machine = &mut machines[id.0];
        if machine.session == Some(session) && (is_blocked || driver.frozen_until > net.now) {
            net.note(|| format!("{session} receives nothing and closes its connection"));
            let redial = net.dice.ms(200..=2000);
            machine.leave(redial, net);
            net.report(id, session, ToOrchestrator::Closed);
        }
    }

    /// Starts the liveness phase. Nothing new breaks. Frozen and crashed machines recover at their planned times.
    fn heal(&mut self) {
        let Self { plan, net, machines, .. } = self;
        net.note(|| "no more faults strike".to_owned());
        net.unsafe_phase = false;
        net.links.iter_mut().for_each(SimLink::heal);
        for machine in machines {
            machine.heal(plan, net);
        }
        net.after(Duration::ZERO, WorldEvent::ResumeAll);
    }
}

/// In half of the worlds, gives all bad workers the same origin, as if one machine used several names.
fn share_origins(seed: u64, parameters: &WorldParameters, machines: &mut [SimMachine]) {
    if Dice::new(seed, Purpose::Origins).chance(500) {
        let bad = machines.iter_mut().skip(1).take(parameters.bad_workers);
        bad.for_each(|machine| machine.origin = OriginId(1));
    }
}

/// Returns how long after the last fault every proof must have ended. Enough for the slowest machine to do all work
/// more than once, and for 20 quarantines of the maximum duration.
fn patience(parameters: &WorldParameters, plan: &Plan) -> Duration {
    let quarantines = parameters.config.quarantine.map_or(Duration::ZERO, |rules| rules.max_duration * 20);
    Duration::from_secs(600) + quarantines + plan.work() * 50
}
