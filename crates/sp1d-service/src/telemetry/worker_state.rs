//! The states of workers, as the API and the metrics show them.

use sp1d_model::WorkerActivity;
use sp1d_orchestrator::WorkerInfo;

/// Returns the state of a connected worker.
pub(crate) const fn state_of(worker: &WorkerInfo) -> WorkerActivity {
    match worker {
        WorkerInfo { has_loaded_prover: false, .. } => WorkerActivity::Starting,
        WorkerInfo { quarantine: Some(_), .. } => WorkerActivity::Quarantined,
        WorkerInfo { draining: true, holds: 0, .. } => WorkerActivity::Drained,
        WorkerInfo { draining: true, .. } => WorkerActivity::Draining,
        WorkerInfo { holds: 0, .. } => WorkerActivity::Idle,
        WorkerInfo { .. } => WorkerActivity::Busy,
    }
}
