//! The size of a world and the configuration of its scheduler.

use super::dice::{Dice, Purpose};
use sp1d_scheduler::{PaceRules, Placement, QuarantineRules, SchedulerConfig};
use std::{ops::RangeInclusive, time::Duration};

/// Number of attempts from before the orchestrator restarted. Workers can resume some of them.
pub(crate) const LAST_ATTEMPT_BEFORE_RESTART: u64 = 100;

/// One of this many seeds creates a large world.
const LARGE_EVERY: u64 = 50;

/// The parameters of a world. They are drawn before everything else.
#[derive(Debug, Clone)]
pub(crate) struct WorldParameters {
    /// The world has thousands of workers. Rare, because each run takes seconds.
    pub(crate) large: bool,
    pub(crate) workers: usize,
    /// Approximate number of tasks.
    pub(crate) tasks: usize,
    /// Number of workers that may lie, hang or fail. Small worlds have fewer of them than the failures that end a task,
    /// so that proofs do not fail by bad luck.
    pub(crate) bad_workers: usize,
    /// Duration of the safety phase.
    pub(crate) safety: Duration,
    pub(crate) heartbeat: Duration,
    /// Some shards need more memory than some workers have.
    pub(crate) large_shards: bool,
    /// Duration of a task on a machine of usual speed, in milliseconds.
    pub(crate) work_ms: RangeInclusive<u64>,
    pub(crate) config: SchedulerConfig,
}

impl WorldParameters {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed, Purpose::Setting);
        if seed % LARGE_EVERY == LARGE_EVERY - 1 {
            let workers = usize_of(dice.number(1000..=3000));
            return Self {
                large: true,
                workers,
                tasks: usize_of(dice.number(2000..=4000)),
                bad_workers: workers / 50,
                safety: dice.ms(40_000..=60_000),
                heartbeat: Duration::from_secs(2),
                large_shards: false,
                work_ms: 2000..=12_000,
                config: config(&mut dice, Duration::from_secs(6)),
            };
        }
        let workers = dice.number(1..=12);
        Self {
            large: false,
            workers: usize_of(workers),
            tasks: usize_of((dice.number(5..=30) + dice.number(0..=14 * workers)).min(200)),
            bad_workers: usize_of(workers / 4).min(2),
            safety: dice.ms(60_000..=120_000),
            heartbeat: Duration::from_secs(1),
            large_shards: dice.chance(250),
            work_ms: 300..=4000,
            config: config(&mut dice, Duration::from_secs(3)),
        }
    }
}

/// Durations are shorter than in production, so that a minute covers what takes an hour there.
fn config(dice: &mut Dice, lease_ttl: Duration) -> SchedulerConfig {
    let pace = PaceRules {
        straggler_percent: u32_of(dice.number(150..=300)),
        straggler_floor: dice.ms(1000..=3000),
        overdue_percent: u32_of(dice.number(600..=1000)),
        overdue_floor: dice.ms(15_000..=30_000),
        overdue_cap: dice.ms(200_000..=400_000),
    };
    let quarantine = QuarantineRules {
        max_faults: u32_of(dice.number(2..=4)),
        first_duration: dice.ms(4000..=15_000),
        max_duration: dice.ms(30_000..=90_000),
    };
    let losses = if dice.chance(120) { 1..=2 } else { 5..=10 };
    SchedulerConfig {
        lease_ttl,
        max_failures: u32_of(dice.number(3..=5)),
        max_losses: u32_of(dice.number(losses)),
        max_start_delay: dice.ms(20_000..=40_000),
        memory_patience: dice.ms(5000..=20_000),
        placement: dice.pick(&[Placement::Spread, Placement::Spread, Placement::Pack]),
        pace: dice.chance(850).then_some(pace),
        quarantine: dice.chance(850).then_some(quarantine),
        last_attempt_before_restart: LAST_ATTEMPT_BEFORE_RESTART,
        ..SchedulerConfig::default()
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("the number was drawn from a small range")
}

fn u32_of(number: u64) -> u32 {
    u32::try_from(number).expect("the number was drawn from a small range")
}
