//! SP1 on the orchestrator: runs proofs with SP1's controller, and computes the keys of programs.
//!
//! Knows nothing about the prover engine of the workers, and loads no proving keys.

mod cut;
mod execution;
mod input_check;
mod input_proofs;
mod key_folder;
mod marker_sequencer;
mod program_keys;
mod proof_client;
mod proof_context;
mod proof_runner;
mod proof_sequence;
mod request;
mod setup_place;
mod shards_in_flight;
mod shrink_wrapper;

pub use cut::preview_cut;
pub(crate) use input_check::LIMITS as INPUT_LIMITS;
pub use input_check::check_input;
pub use key_folder::default_key_folder;
pub(crate) use marker_sequencer::LIMITS as MARKER_LIMITS;
pub use marker_sequencer::MarkerSequencer;
pub(crate) use program_keys::LIMITS as KEY_LIMITS;
pub use proof_runner::{ProofRunnerSettings, Sp1ProofRunner};
pub use request::{check_recursion_keys, status_code};
pub use shrink_wrapper::ShrinkWrapper;
pub(crate) use shrink_wrapper::WrapChecks;
