//! The scheduler's configuration.

use crate::{PaceRules, Placement, QuarantineRules};
use std::time::Duration;

/// Limits, times and policies of the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// How long a worker may be silent. Then its session ends, and its tasks can go to other workers. Its attempts may
    /// continue after a reconnect.
    pub lease_ttl: Duration,
    /// A task fails for good after failures on workers of this many different origins. Rejected output counts as a
    /// failure. If every worker that supports the task was tried or is too small, this many failures in total are
    /// enough. At least 1.
    ///
    /// A report of [`FailureKind::Unsupported`](crate::FailureKind::Unsupported) is a refusal and not a failure. After
    /// this many refusals, the task fails for good if every worker that supports its kind was tried or is too small.
    pub max_failures: u32,
    /// The same limit for losses: the worker was lost with the task, ran it for too long, or never started it. At least
    /// 1.
    pub max_losses: u32,
    /// A worker that holds attempts must start one of them within this time. Otherwise its oldest attempt counts as a
    /// loss. The limit does not apply while it holds an attempt that it has started, even if that one is overdue.
    /// Before it starts an attempt, a worker fetches the inputs and may wait for memory that other workers on its
    /// machine use. That takes minutes at most.
    pub max_start_delay: Duration,
    /// How long a queued task waits while no ready worker is large enough for it. That is so if the task ran out of
    /// memory earlier and the last larger worker has left, or if its try excludes small workers. Then the task fails
    /// for good, unless only workers of one origin ran out of memory and another one is left. If an attempt runs out of
    /// memory while no larger worker is ready, and workers of two origins say so, the task fails at once.
    ///
    /// The time counts from when the last worker that was large enough left, or from when the task was queued if no
    /// such worker was ready. A draining worker counts as one that has left. Time without any ready worker does not
    /// count: the driver decides how long a proof waits then. The orchestrator has one limit for the time without any
    /// connected worker (`OrchestratorSettings::patience`), and a longer one for the time with connected workers of
    /// which none is ready.
    pub memory_patience: Duration,
    /// A longer step of the clock is treated as a pause of the scheduler itself: leases are extended by the excess.
    pub max_clock_step: Duration,
    /// Which worker gets a task when several workers could take it.
    pub placement: Placement,
    /// When an attempt counts as slow or overdue. `None` ignores how long tasks take.
    pub pace: Option<PaceRules>,
    /// When a worker is quarantined. `None` disables quarantine.
    pub quarantine: Option<QuarantineRules>,
    /// The highest attempt number that was assigned before the orchestrator restarted. The first attempt gets the next
    /// number.
    pub last_attempt_before_restart: u64,
}

impl Default for SchedulerConfig {
    /// A lease of 3 s (three missed heartbeats of 1 s), 3 failures and 5 losses. Attempts must start within 10 minutes,
    /// a task waits 60 s for a worker that is large enough, and a clock step has at most 1.5 s. Placement is
    /// [`Placement::Spread`]. Pace and quarantine rules have their defaults.
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(3),
            max_failures: 3,
            max_losses: 5,
            max_start_delay: Duration::from_secs(600),
            memory_patience: Duration::from_secs(60),
            max_clock_step: Duration::from_millis(1500),
            placement: Placement::default(),
            pace: Some(PaceRules::default()),
            quarantine: Some(QuarantineRules::default()),
            last_attempt_before_restart: 0,
        }
    }
}
