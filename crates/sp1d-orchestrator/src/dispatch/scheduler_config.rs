//! The configuration of the scheduler.

use crate::settings::OrchestratorSettings;
use sp1d_scheduler::SchedulerConfig;

/// Returns the configuration of the scheduler for these settings.
pub(crate) fn scheduler_config(settings: &OrchestratorSettings) -> SchedulerConfig {
    SchedulerConfig {
        lease_ttl: settings.silence(),
        max_failures: settings.max_failures,
        max_losses: settings.max_losses,
        placement: settings.placement,
        last_attempt_before_restart: settings.last_attempt_before_restart,
        ..SchedulerConfig::default()
    }
}
