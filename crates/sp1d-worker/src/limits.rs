//! The limits of the worker, for the table of limits.

use crate::{
    attempt::JOURNAL_LIMITS,
    health,
    prover::{FRAME_LIMITS, LOAD_LIMITS, PROVER_LIMITS},
    session::{LISTEN_LIMITS, SESSION_LIMITS, STATE_LIMITS, TURN_LIMITS},
    text,
};
use sp1d_model::Limit;

/// Returns the limits that orchestrators, prover processes, programs and probes can reach.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    let of_orchestrators = [LISTEN_LIMITS, TURN_LIMITS, SESSION_LIMITS, STATE_LIMITS, JOURNAL_LIMITS];
    let of_provers = [FRAME_LIMITS, PROVER_LIMITS, LOAD_LIMITS, text::LIMITS];
    of_orchestrators.into_iter().chain(of_provers).chain([health::LIMITS]).flatten()
}
