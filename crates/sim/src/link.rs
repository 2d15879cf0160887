//! The way between the orchestrator and one machine.

use crate::dice::Dice;
use scheduler::{Timestamp, WorkerId};
use std::time::Duration;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToOrchestrator,
    ToWorker,
}

/// A slow link takes so many times as long.
const SLOWNESS: u64 = 10;

/// A link, which keeps the order of what goes one way. What is cut off without a word is kept until the way is free
/// again, as TCP does.
#[derive(Debug)]
pub(crate) struct Link {
    /// The session that the connection belongs to, as long as both ends have it open.
    pub(crate) connected: Option<WorkerId>,
    longest_latency_ms: u64,
    longest_transfer_ms: u64,
    slow_until: Timestamp,
    up: Lane,
    down: Lane,
}

#[derive(Debug, Default)]
struct Lane {
    last_arrival: Timestamp,
    blocked_until: Timestamp,
}

impl Link {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        Self {
            connected: None,
            longest_latency_ms: dice.pick(&[2, 20, 20, 100]),
            longest_transfer_ms: dice.pick(&[10, 100, 500]),
            slow_until: Timestamp::default(),
            up: Lane::default(),
            down: Lane::default(),
        }
    }

    /// When what is sent now arrives. `heavy` for what has a task's inputs or result with it.
    pub(crate) fn send(&mut self, now: Timestamp, way: Direction, heavy: bool, dice: &mut Dice) -> Timestamp {
        let slowness = if self.slow_until > now { SLOWNESS } else { 1 };
        let latency = dice.number(1..=self.longest_latency_ms);
        let transfer = if heavy { dice.number(0..=self.longest_transfer_ms) } else { 0 };
        let takes = Duration::from_millis((latency + transfer) * slowness);
        let lane = self.lane(way);
        lane.last_arrival = (now.max(lane.blocked_until) + takes).max(lane.last_arrival);
        lane.last_arrival
    }

    /// Nothing that is sent this way arrives before `until`.
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

    /// From now on it is fast and open.
    pub(crate) fn heal(&mut self) {
        self.slow_until = Timestamp::default();
        self.up.blocked_until = Timestamp::default();
        self.down.blocked_until = Timestamp::default();
    }

    const fn lane(&mut self, way: Direction) -> &mut Lane {
        match way {
            Direction::ToOrchestrator => &mut self.up,
            Direction::ToWorker => &mut self.down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Purpose;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::new(Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_sent_first_arrives_first() {
        let mut dice = Dice::new(1, Purpose::World);
        let mut link = Link::draw(&mut dice);
        let mut last = Timestamp::default();
        for heavy in [true, false].into_iter().cycle().take(100) {
            let arrival = link.send(at(1), Direction::ToWorker, heavy, &mut dice);
            assert!(arrival > at(1) && arrival >= last);
            last = arrival;
        }
    }

    #[test]
    fn a_blocked_way_keeps_what_is_sent_and_the_other_way_is_open() {
        let mut dice = Dice::new(2, Purpose::World);
        let mut link = Link::draw(&mut dice);
        link.block(Direction::ToOrchestrator, at(10));
        assert!(link.send(at(1), Direction::ToOrchestrator, false, &mut dice) > at(10));
        assert!(link.send(at(1), Direction::ToWorker, false, &mut dice) < at(10));
        link.heal();
        assert!(link.send(at(20), Direction::ToOrchestrator, false, &mut dice) < at(30));
    }
}
