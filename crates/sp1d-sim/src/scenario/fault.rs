//! Faults, and when they strike.

use super::{
    dice::{Dice, Purpose},
    parameters::WorldParameters,
};
use std::time::Duration;

/// A machine, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MachineId(pub(crate) usize);

/// How the results of a worker are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// The result belongs to no task.
    Wrong,
    /// The result belongs to another task.
    OfOther,
    /// The result is missing.
    Nothing,
}

/// A fault. A fault with a duration ends without further action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InjectedFault {
    /// The process dies with all its attempts. `silent`: its machine dies too, so the connection is not closed. `away`:
    /// time until it is back, `None` for never.
    Crash {
        silent: bool,
        away: Option<Duration>,
    },
    /// The connection is closed. `loses`: messages in flight to the orchestrator are lost.
    Disconnect {
        away: Duration,
        loses: bool,
    },
    /// The process is stopped, as by SIGSTOP.
    Freeze {
        lasts: Duration,
    },
    /// Messages are blocked and the connection stays open.
    Partition {
        up: bool,
        down: bool,
        lasts: Duration,
    },
    SlowLink {
        lasts: Duration,
    },
    /// Tasks take `factor` times as long.
    Slow {
        factor: u32,
        lasts: Duration,
    },
    /// One attempt never ends.
    Hang,
    Lie {
        lie: Lie,
        lasts: Duration,
    },
    /// The process is restarted under another name, and then delivers wrong results.
    Rename {
        away: Duration,
        lie: Lie,
        lasts: Duration,
    },
    /// Every attempt fails.
    FailAll {
        lasts: Duration,
    },
    /// Every attempt kills the process, which is restarted at once.
    CrashLoop {
        lasts: Duration,
    },
    /// Every attempt kills the prover, which is restarted. The session continues.
    ProverDies {
        lasts: Duration,
    },
    /// No attempt starts.
    StartsNothing {
        lasts: Duration,
    },
    /// No attempt completes its marker.
    NoMarkers {
        lasts: Duration,
    },
    /// The deferred claims of every attempt are wrong.
    WrongMarkers {
        lasts: Duration,
    },
    /// An operator drains the worker.
    Drain {
        lasts: Duration,
    },
    /// The orchestrator is stopped. `noticed`: so long that workers end their sessions.
    OrchestratorFreeze {
        lasts: Duration,
        noticed: bool,
    },
    /// The worker sends a message about an attempt that may belong to another worker.
    Claim,
}

impl InjectedFault {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Crash { silent: false, .. } => "process crashes",
            Self::Crash { silent: true, .. } => "machine crashes",
            Self::Disconnect { .. } => "connection lost",
            Self::Freeze { .. } => "worker frozen",
            Self::Partition { up: true, down: true, .. } => "partition, both directions",
            Self::Partition { up: true, down: false, .. } => "partition, toward the orchestrator",
            Self::Partition { .. } => "partition, toward the worker",
            Self::SlowLink { .. } => "slow link",
            Self::Slow { .. } => "worker becomes slow",
            Self::Hang => "attempt hangs",
            Self::Lie { lie: Lie::Wrong, .. } => "worker delivers a wrong result",
            Self::Lie { lie: Lie::OfOther, .. } => "worker delivers another's result",
            Self::Lie { lie: Lie::Nothing, .. } => "worker delivers no result",
            Self::Rename { .. } => "worker that lies changes its name",
            Self::FailAll { .. } => "worker fails every attempt",
            Self::CrashLoop { .. } => "worker crashes in a loop",
            Self::ProverDies { .. } => "prover dies",
            Self::StartsNothing { .. } => "worker starts no attempt",
            Self::NoMarkers { .. } => "worker completes no markers",
            Self::WrongMarkers { .. } => "worker delivers wrong claims",
            Self::Drain { .. } => "worker drained",
            Self::OrchestratorFreeze { .. } => "orchestrator frozen",
            Self::Claim => "worker claims another's attempt",
        }
    }
}

/// A fault, the machine it strikes, and when it strikes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannedFault {
    pub(crate) at: Duration,
    pub(crate) machine: MachineId,
    pub(crate) fault: InjectedFault,
}

/// Returns all faults of a world, in no particular order.
pub(crate) fn draw_faults(seed: u64, parameters: &WorldParameters) -> Vec<PlannedFault> {
    let mut dice = Dice::new(seed, Purpose::Faults);
    let count = if parameters.large { parameters.workers / 5 } else { 14 + 2 * parameters.workers };
    let safety_ms = u64::try_from(parameters.safety.as_millis()).expect("a phase lasts two minutes at most");
    (0..count)
        .map(|_| {
            let at = dice.ms(1000..=safety_ms);
            let (machine, fault) = draw_one(&mut dice, parameters);
            PlannedFault { at, machine, fault }
        })
        .collect()
}

fn draw_one(dice: &mut Dice, parameters: &WorldParameters) -> (MachineId, InjectedFault) {
    let machine = MachineId(dice.index(parameters.workers));
    let fault = match dice.number(0..=99) {
        0..=13 => {
            // Machines of the last quarter may stay away forever.
            let expendable = machine.0 >= parameters.workers - parameters.workers / 4;
            let away = if expendable && dice.chance(200) { None } else { Some(dice.ms(200..=20_000)) };
            InjectedFault::Crash { silent: dice.chance(400), away }
        }
        14..=25 => disconnect(dice),
        26..=37 => InjectedFault::Freeze { lasts: dice.ms(500..=20_000) },
        38..=53 => {
            let (up, down) = dice.pick(&[(true, true), (true, false), (false, true)]);
            InjectedFault::Partition { up, down, lasts: dice.ms(500..=15_000) }
        }
        54..=59 => InjectedFault::SlowLink { lasts: dice.ms(5000..=20_000) },
        60..=68 => InjectedFault::Slow { factor: dice.pick(&[5, 10, 20]), lasts: dice.ms(5000..=40_000) },
        69..=73 => InjectedFault::Drain { lasts: dice.ms(1000..=20_000) },
        74..=75 if !parameters.large || dice.chance(50) => {
            let lasts = dice.ms(1600..=40_000);
            InjectedFault::OrchestratorFreeze {
                lasts,
                noticed: lasts > parameters.config.lease_ttl && dice.chance(500),
            }
        }
        76..=79 => InjectedFault::Claim,
        80.. if parameters.bad_workers > 0 => {
            // Never machine 0, so that one honest worker supports every task.
            return (MachineId(1 + dice.index(parameters.bad_workers)), bad(dice));
        }
        _ => disconnect(dice),
    };
    (machine, fault)
}

fn disconnect(dice: &mut Dice) -> InjectedFault {
    // Half of the disconnections are short: the worker is back before other workers have its tasks.
    let longest = dice.pick(&[300, 8000]);
    InjectedFault::Disconnect { away: dice.ms(50..=longest), loses: dice.chance(500) }
}

/// Draws a fault that only bad workers have.
fn bad(dice: &mut Dice) -> InjectedFault {
    let lasts = dice.ms(5000..=30_000);
    match dice.number(0..=38) {
        20..=22 => InjectedFault::CrashLoop { lasts },
        23..=25 => InjectedFault::ProverDies { lasts },
        26..=28 => InjectedFault::StartsNothing { lasts: lasts * 3 },
        29.. => InjectedFault::WrongMarkers { lasts: lasts * 4 },
        0..=5 => InjectedFault::Hang,
        6..=9 => InjectedFault::Lie { lie: dice.pick(&[Lie::Wrong, Lie::OfOther, Lie::Nothing]), lasts },
        10..=12 => {
            InjectedFault::Rename { away: dice.ms(100..=3000), lie: dice.pick(&[Lie::Wrong, Lie::Nothing]), lasts }
        }
        13..=16 => InjectedFault::FailAll { lasts },
        _ => InjectedFault::NoMarkers { lasts },
    }
}
