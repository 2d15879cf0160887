//! State that a whole world shares: its time, its queue, its links and its random numbers.

use super::{
    agenda::Agenda,
    link::{Direction, SimLink},
    message::{ToOrchestrator, ToWorker},
    world_event::WorldEvent,
};
use crate::scenario::{Dice, MachineId};
use sp1d_scheduler::{DispatchEvent, SessionId, Timestamp};
use std::{collections::BTreeMap, time::Duration};

/// Number of events in 1000 that the dispatch state machine receives a second time.
const ECHOES: u64 = 15;

/// Number of messages in 1000 that arrive late, among those that may.
const LATE: u64 = 30;

/// Receives one line of text for each thing that happens in a world.
pub type Trace = Box<dyn FnMut(&str)>;

pub(crate) struct Net {
    pub(crate) now: Timestamp,
    pub(crate) queue: Agenda<WorldEvent>,
    pub(crate) links: Vec<SimLink>,
    pub(crate) dice: Dice,
    /// True in the safety phase: faults strike.
    pub(crate) unsafe_phase: bool,
    /// Faults that have struck, by name.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) trace: Option<Trace>,
}

impl Net {
    pub(crate) fn at(&mut self, at: Timestamp, event: WorldEvent) {
        self.queue.put(at.max(self.now), event);
    }

    pub(crate) fn after(&mut self, delay: Duration, event: WorldEvent) {
        self.at(self.now + delay, event);
    }

    pub(crate) fn link(&mut self, machine: MachineId) -> &mut SimLink {
        &mut self.links[machine.0]
    }

    pub(crate) fn report(&mut self, machine: MachineId, session: SessionId, message: ToOrchestrator) {
        let heavy = matches!(message, ToOrchestrator::Reported { .. });
        let way = Direction::ToOrchestrator;
        let mut arrival = self.links[machine.0].send(self.now, way, heavy, &mut self.dice);
        // All other messages stay in order: a report overtakes neither the first message of its session nor its marker.
        if self.unsafe_phase && matches!(message, ToOrchestrator::Started(_)) && self.dice.chance(LATE) {
            self.count("message out of order");
            arrival = arrival + self.dice.ms(100..=4000);
        }
        self.at(arrival, WorldEvent::ReachesOrchestrator { session, message });
    }

    pub(crate) fn tell(&mut self, machine: MachineId, session: SessionId, message: ToWorker) {
        let heavy = matches!(message, ToWorker::Assign { .. });
        let arrival = self.links[machine.0].send(self.now, Direction::ToWorker, heavy, &mut self.dice);
        self.at(arrival, WorldEvent::ReachesWorker { machine, session, message });
    }

    /// May schedule `event` a second time, if the contract of the dispatch state machine allows it twice. A repeated
    /// `TryStarted` or `WorkerReady` is not allowed: it would start an ended proof or session again.
    pub(crate) fn perhaps_again(&mut self, event: &DispatchEvent) {
        let may_come_twice = match event {
            DispatchEvent::TaskSubmitted { .. }
            | DispatchEvent::MarkerSubmitted { .. }
            | DispatchEvent::SessionEnded { .. }
            | DispatchEvent::AttemptStarted { .. }
            | DispatchEvent::DeferredEventsUploaded { .. }
            | DispatchEvent::DeferredEventsChecked { .. }
            | DispatchEvent::ResultDelivered { .. }
            | DispatchEvent::ResultChecked { .. }
            | DispatchEvent::CheckDelayed { .. }
            | DispatchEvent::AttemptFailed { .. }
            | DispatchEvent::TryEnded { .. } => true,
            DispatchEvent::TryStarted { .. }
            | DispatchEvent::WorkerReady { .. }
            | DispatchEvent::DrainRequested { .. }
            | DispatchEvent::DrainCancelled { .. }
            | DispatchEvent::SmallWorkersExcluded { .. }
            | DispatchEvent::AssignmentFailed { .. }
            | DispatchEvent::LastProverLost { .. }
            | DispatchEvent::FirstProverReady { .. }
            | DispatchEvent::LeaseRenewed { .. }
            | DispatchEvent::ProvenWrong { .. }
            | DispatchEvent::Tick => false,
        };
        if self.unsafe_phase && may_come_twice && self.dice.chance(ECHOES) {
            self.count("duplicate event");
            let delay = self.dice.ms(0..=8000);
            self.after(delay, WorldEvent::Echo(event.clone()));
        }
    }

    pub(crate) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace(&format!("{:>9.3} {}", self.now.since_start().as_secs_f64(), text()));
        }
    }
}
