//! Checks that the result of a task is what the task asked for. With `verify = final`, results are used before this
//! check, and are checked only if the whole proof does not verify.
//!
//! ```text
//!   program, nonce, input proofs, records ──► Expectations ───┐
//!   a task's output ──► decoded completely ──► has the expected values? ──► SP1's verifier ──► accepted
//! ```
//!
//! The public values of a shard proof say where the shard starts and ends. They do not say which values it read from
//! memory or which precompile calls it made. A valid proof of a shard with wrong values is therefore detected only when
//! the reductions sum up all parts. The public values of a reduction follow completely from its inputs.
//!
//! `whole_proof` verifies the whole proof at the end. `named_key` reads of which program it claims to be a proof.
//!
//! A *part* is a shard proof or a recursion proof of a piece of the run.

mod accesses;
mod decoding;
mod event_limits;
mod expectations;
mod named_key;
mod nonce;
mod part_checks;
mod part_values;
mod record;
mod recursion_values;
mod result_check;
mod whole_proof;

pub use event_limits::EventLimits;
pub(crate) use event_limits::LIMITS as EVENT_LIMITS;
pub(crate) use expectations::{Expectations, LIMITS as LIST_LIMITS};
pub use named_key::named_key;
pub(crate) use nonce::{check_nonce, check_nonce_range};
pub(crate) use part_checks::{PartChecks, contained};
pub(crate) use record::ClockRange;
pub use whole_proof::{ProofRejection, verify_proof};
