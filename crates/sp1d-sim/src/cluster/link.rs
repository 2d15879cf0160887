//! The network link between the orchestrator and one machine.

use crate::scenario::Dice;
use sp1d_scheduler::{SessionId, Timestamp};
use std::time::Duration;

/// Direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToOrchestrator,
    ToWorker,
}

/// Factor by which a slow link is slower.
const SLOWNESS: u64 = 10;

/// A link that keeps the order of messages in each direction. While a direction is blocked, its messages are delayed
/// until it is open again, as in TCP.
#[derive(Debug)]
pub(crate) struct SimLink {
    /// The session of the connection, while both ends have it open.
    pub(crate) connected: Option<SessionId>,
    max_latency_ms: u64,
    max_transfer_ms: u64,
    slow_until: Timestamp,
    up: LinkLane,
    down: LinkLane,
}

#[derive(Debug, Default)]
struct LinkLane {
    last_arrival: Timestamp,
    blocked_until: Timestamp,
}

impl SimLink {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        Self {
            connected: None,
            max_latency_ms: dice.pick(&[2, 20, 20, 100]),
            max_transfer_ms: dice.pick(&[10, 100, 500]),
            slow_until: Timestamp::default(),
            up: LinkLane::default(),
            down: LinkLane::default(),
        }
    }

    /// Returns the arrival time of a message that is sent now. `heavy` is true for messages with the inputs or the
    /// result of a task.
    pub(crate) fn send(&mut self, now: Timestamp, way: Direction, heavy: bool, dice: &mut Dice) -> Timestamp {
        let slowness = if self.slow_until > now { SLOWNESS } else { 1 };
        let latency = dice.number(1..=self.max_latency_ms);
        let transfer = if heavy { dice.number(0..=self.max_transfer_ms) } else { 0 };
        let takes = Duration::from_millis((latency + transfer) * slowness);
        let lane = self.lane(way);
        lane.last_arrival = (now.max(lane.blocked_until) + takes).max(lane.last_arrival);
        lane.last_arrival
    }

    /// No message sent in direction `way` arrives before `until`.
    pub(crate) fn block(&mut self, way: Direction, until: Timestamp) {
        let lane = self.lane(way);
        lane.blocked_until = lane.blocked_until.max(until);
    }

    pub(crate) fn blocked_until(&mut self, way: Direction) -> Timestamp {
        self.lane(way).blocked_until
    }

    pub(crate) fn slow_down(&mut self, until: Timestamp) {
        self.slow_until = self.slow_until.max(until);
    }

    /// Makes the link fast and open again.
    pub(crate) fn heal(&mut self) {
        self.slow_until = Timestamp::default();
        self.up.blocked_until = Timestamp::default();
        self.down.blocked_until = Timestamp::default();
    }

    const fn lane(&mut self, way: Direction) -> &mut LinkLane {
        match way {
            Direction::ToOrchestrator => &mut self.up,
            Direction::ToWorker => &mut self.down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Purpose;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::new(Duration::from_secs(seconds))
    }

    #[test]
    fn messages_arrive_in_the_order_in_which_they_were_sent() {
        let mut dice = Dice::new(1, Purpose::World);
        let mut link = SimLink::draw(&mut dice);
        let mut last = Timestamp::default();
        for heavy in [true, false].into_iter().cycle().take(100) {
            let arrival = link.send(at(1), Direction::ToWorker, heavy, &mut dice);
            assert!(arrival > at(1) && arrival >= last);
            last = arrival;
        }
    }

    #[test]
    fn a_blocked_direction_delays_messages_and_the_other_stays_open() {
        let mut dice = Dice::new(2, Purpose::World);
        let mut link = SimLink::draw(&mut dice);
        link.block(Direction::ToOrchestrator, at(10));
        assert!(link.send(at(1), Direction::ToOrchestrator, false, &mut dice) > at(10));
        assert!(link.send(at(1), Direction::ToWorker, false, &mut dice) < at(10));
        link.heal();
        assert!(link.send(at(20), Direction::ToOrchestrator, false, &mut dice) < at(30));
    }
}
