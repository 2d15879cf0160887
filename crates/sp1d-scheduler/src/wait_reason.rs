//! Why a task waits.

use crate::TaskKind;
use sp1d_model::{WaitCode, counted};
use std::fmt;

/// Why a task waits instead of running. The counts are numbers of ready workers: those whose prover was loaded in their
/// session. The scheduler does not know a connected worker that still loads its first prover.
///
/// - A worker is *available* for a kind if it supports the kind, is not quarantined for it, and is neither draining nor
///   starting its prover.
/// - An available worker is *free* if it has a free slot, and *full* if it has none.
/// - If the proof of a task is only for trusted workers, other workers count nowhere except in
///   [`WaitReason::NoTrustedWorker`] and in the number of ready workers.
/// - A task *excludes* a worker if the worker was tried without success (it failed at the task, refused it, or was lost
///   with it), or if the worker has too little memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitReason {
    /// No worker is connected, or no connected worker has loaded its prover yet.
    NoWorkerReady,
    /// No ready worker supports the kind.
    KindUnsupported {
        /// The kind of the task.
        kind: TaskKind,
        /// Ready workers.
        ready: usize,
    },
    /// The task is only for trusted workers, and no ready worker that supports the kind is trusted.
    NoTrustedWorker {
        /// The kind of the task.
        kind: TaskKind,
        /// Workers that support the kind and are not trusted.
        untrusted: usize,
    },
    /// Every worker that supports the kind is unavailable. A worker that is unavailable for several reasons counts for
    /// the first of them.
    AllUnavailable {
        /// The kind of the task.
        kind: TaskKind,
        /// Workers that finish the attempts that they have started, and get no others.
        draining: usize,
        /// Workers that are quarantined for the kind.
        quarantined: usize,
        /// Workers whose prover is being started again.
        starting: usize,
    },
    /// No worker that supports the kind is large enough for the task: the task ran out of memory earlier and the last
    /// larger worker has left, or its try excludes small workers. Draining workers do not count. The try fails after
    /// [`SchedulerConfig::memory_patience`](crate::SchedulerConfig::memory_patience). If an attempt runs out of memory
    /// while no larger worker is ready, the task does not wait: the try fails at once.
    TooLittleMemory {
        /// The kind of the task.
        kind: TaskKind,
        /// Workers that support the kind and are not draining.
        workers: usize,
    },
    /// The task excludes every available worker. It waits for a quarantined or starting worker.
    AllAvailableExcluded {
        /// The kind of the task.
        kind: TaskKind,
        /// Available workers that failed at the task, refused it, or were lost with it.
        failed_before: usize,
        /// Available workers with too little memory.
        too_small: usize,
        /// Quarantined or starting workers that the task does not exclude.
        unavailable: usize,
    },
    /// The task excludes every free worker. It waits for a full worker.
    AllFreeExcluded {
        /// The kind of the task.
        kind: TaskKind,
        /// Free workers that failed at the task, refused it, or were lost with it.
        failed_before: usize,
        /// Free workers with too little memory.
        too_small: usize,
        /// Full workers that the task does not exclude.
        full: usize,
    },
    /// Every available worker is full.
    AllFull {
        /// The kind of the task.
        kind: TaskKind,
        /// Available workers.
        workers: usize,
        /// Available workers on probation. Each of them gets one task of the kind at a time.
        on_probation: usize,
    },
    /// Free workers could take the task, but [`Placement::Pack`](crate::Placement::Pack) leaves them free.
    OutsidePackPlan {
        /// The kind of the task.
        kind: TaskKind,
        /// Workers that share the tasks of the kind.
        plan_size: usize,
        /// Free workers that the task does not exclude.
        free: usize,
    },
}

impl WaitReason {
    /// Returns the stable code of the reason, for programs.
    #[must_use]
    pub const fn code(self) -> WaitCode {
        match self {
            Self::NoWorkerReady => WaitCode::NoWorkerReady,
            Self::KindUnsupported { .. } => WaitCode::KindUnsupported,
            Self::NoTrustedWorker { .. } => WaitCode::NoTrustedWorker,
            Self::AllUnavailable { .. } => WaitCode::AllUnavailable,
            Self::TooLittleMemory { .. } => WaitCode::TooLittleMemory,
            Self::AllAvailableExcluded { .. } => WaitCode::AllAvailableExcluded,
            Self::AllFreeExcluded { .. } => WaitCode::AllFreeExcluded,
            Self::AllFull { .. } => WaitCode::AllFull,
            Self::OutsidePackPlan { .. } => WaitCode::OutsidePackPlan,
        }
    }
}

/// Shows the reason for people, in words that fit one task as well as many.
impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoWorkerReady => f.write_str("no worker is ready"),
            Self::KindUnsupported { kind, ready } => {
                write!(f, "no ready worker supports {kind} ({ready} ready; others may still load their provers)")
            }
            Self::NoTrustedWorker { kind, untrusted } => write!(
                f,
                "only trusted workers may get the tasks of this proof, and no worker for {kind} is trusted \
                 ({untrusted} not trusted)"
            ),
            Self::AllUnavailable { kind, draining, quarantined, starting } => {
                let states = [(draining, "draining"), (quarantined, "quarantined"), (starting, "starting")];
                write!(f, "no worker is available for {kind}: {}", listed(states))
            }
            Self::TooLittleMemory { kind, workers } => {
                write!(
                    f,
                    "no worker for {kind} has enough memory (too small: {workers}); draining workers do not count"
                )
            }
            Self::AllAvailableExcluded { kind, failed_before, too_small, unavailable } => write!(
                f,
                "every available worker for {kind} is excluded ({}); quarantined or starting: {unavailable}",
                excluded(failed_before, too_small)
            ),
            Self::AllFreeExcluded { kind, failed_before, too_small, full } => {
                write!(
                    f,
                    "every free worker for {kind} is excluded ({}); full: {full}",
                    excluded(failed_before, too_small)
                )
            }
            Self::AllFull { kind, workers, on_probation } => {
                write!(f, "every available worker for {kind} is full ({workers} available")?;
                if on_probation > 0 { write!(f, ", {on_probation} on probation)") } else { f.write_str(")") }
            }
            Self::OutsidePackPlan { kind, plan_size, free } => {
                let used = counted(plan_size, "worker");
                write!(f, "the pack plan uses {used} for {kind} and leaves others free ({free} free)")
            }
        }
    }
}

fn excluded(failed_before: usize, too_small: usize) -> String {
    listed([(failed_before, "tried before"), (too_small, "with too little memory")])
}

/// Returns the counts above zero with their texts.
fn listed<const N: usize>(counts: [(usize, &str); N]) -> String {
    let some = counts.into_iter().filter(|(count, _)| *count > 0);
    some.map(|(count, text)| format!("{count} {text}")).collect::<Vec<_>>().join(", ")
}
