//! Finds out which proofs a program verifies, before anything is proven.
//!
//! SP1's executor ignores the calls with which a program verifies proofs. Only the reductions notice that the program
//! verified other proofs than the input has, and the proof fails after everything was proven. Here, the program runs
//! once without proving, and its trace is read for these calls.

mod calls;
mod difference;
mod observe;
mod recent_words;
mod search;

pub use calls::ProofCalls;
pub use difference::ProofIdentity;
pub(crate) use difference::difference;
pub use observe::observe_proof_calls;
pub(crate) use search::may_verify_proofs;
