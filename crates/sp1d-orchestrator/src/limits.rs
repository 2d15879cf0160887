//! The limits of the orchestrator and its state machines, for the table of limits.

use crate::{
    check_limiter,
    dispatch::OPEN_TASK_LIMITS,
    pool::{join_port, names::named_workers},
    proof::{restart, run},
    session::{CALL_LIMITS, CONTROL_LIMITS, PART_TIMEOUT_LIMITS, UPLOAD_LIMITS, introduction},
    settings,
    state::{shared_state, upload_budget},
    tries::cache_entry,
    workers::{disconnected, identity, reach_error},
};
use sp1d_model::Limit;

/// Returns the limits that workers, programs and clients can reach.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    let of_connections = [
        settings::LIMITS,
        join_port::LIMITS,
        reach_error::LIMITS,
        identity::LIMITS,
        named_workers::LIMITS,
        introduction::LIMITS,
        CONTROL_LIMITS,
        CALL_LIMITS,
        disconnected::LIMITS,
        shared_state::LIMITS,
    ];
    let of_artifacts = [UPLOAD_LIMITS, upload_budget::LIMITS, PART_TIMEOUT_LIMITS, cache_entry::LIMITS];
    let of_proofs = [check_limiter::LIMITS, run::LIMITS, restart::LIMITS, OPEN_TASK_LIMITS];
    of_connections.into_iter().chain(of_artifacts).chain(of_proofs).flatten().chain(sp1d_scheduler::limits())
}
