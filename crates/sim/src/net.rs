//! State that a whole world shares: its time, its queue, its links and its random numbers.

use crate::{
    dice::Dice,
    happening::{Happening, MachineId, ToOrchestrator, ToWorker},
    link::{Direction, Link},
    queue::Queue,
    run::Trace,
};
use scheduler::{Event, Timestamp, WorkerId};
use std::{collections::BTreeMap, time::Duration};

/// Number of events in 1000 that the scheduler receives a second time.
const ECHOES: u64 = 15;

/// Number of messages in 1000 that arrive late, among those that may.
const LATE: u64 = 30;

pub(crate) struct Net {
    pub(crate) now: Timestamp,
    pub(crate) queue: Queue<Happening>,
    pub(crate) links: Vec<Link>,
    pub(crate) dice: Dice,
    /// True in the safety phase: faults strike.
    pub(crate) unsafe_phase: bool,
    /// Faults that have struck, by name.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) trace: Option<Trace>,
}

impl Net {
    pub(crate) fn at(&mut self, at: Timestamp, happening: Happening) {
        self.queue.put(at.max(self.now), happening);
    }

    pub(crate) fn after(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    pub(crate) fn link(&mut self, machine: MachineId) -> &mut Link {
        &mut self.links[machine.0]
    }

    pub(crate) fn say(&mut self, machine: MachineId, session: WorkerId, message: ToOrchestrator) {
        let heavy = matches!(message, ToOrchestrator::Reported { .. });
        let way = Direction::ToOrchestrator;
        let mut arrival = self.links[machine.0].send(self.now, way, heavy, &mut self.dice);
        // All other messages stay in order: a report overtakes neither the join message of its session nor its marker.
        if self.unsafe_phase && matches!(message, ToOrchestrator::Started(_)) && self.dice.chance(LATE) {
            self.count("message out of order");
            arrival = arrival + self.dice.ms(100..=4000);
        }
        self.at(arrival, Happening::Said { session, message });
    }

    pub(crate) fn tell(&mut self, machine: MachineId, session: WorkerId, message: ToWorker) {
        let heavy = matches!(message, ToWorker::Assign { .. });
        let arrival = self.links[machine.0].send(self.now, Direction::ToWorker, heavy, &mut self.dice);
        self.at(arrival, Happening::Told { machine, session, message });
    }

    /// May schedule `event` a second time, if the scheduler's contract allows it twice. A repeated `ProofStarted` or
    /// `WorkerJoined` is not allowed: it would start an ended proof or session again.
    pub(crate) fn perhaps_again(&mut self, event: &Event) {
        let may_come_twice = match event {
            Event::TaskSubmitted { .. }
            | Event::MarkerSubmitted { .. }
            | Event::WorkerLost { .. }
            | Event::AttemptStarted { .. }
            | Event::MarkerReported { .. }
            | Event::AttemptReported { .. }
            | Event::ResultVerified { .. }
            | Event::ResultRejected { .. }
            | Event::AttemptFailed { .. }
            | Event::ProofEnded { .. } => true,
            Event::ProofStarted { .. }
            | Event::WorkerJoined { .. }
            | Event::WorkerDraining { .. }
            | Event::WorkerResumed { .. }
            | Event::WorkerUnready { .. }
            | Event::WorkerReady { .. }
            | Event::PeerBlamed { .. }
            | Event::LeasesRenewed { .. }
            | Event::Tick => false,
        };
        if self.unsafe_phase && may_come_twice && self.dice.chance(ECHOES) {
            self.count("duplicate event");
            let delay = self.dice.ms(0..=8000);
            self.after(delay, Happening::Echo(event.clone()));
        }
    }

    pub(crate) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace(&format!("{:>9.3} {}", self.now.since_origin().as_secs_f64(), text()));
        }
    }
}
