//! SP1 on the orchestrator: runs proofs with SP1's controller, and computes the keys of programs.
//!
//! Knows nothing about the prover engine of the workers.

mod cut;
mod execution;
mod input_proofs;
mod key_folder;
mod local_task_context;
mod marker_sequencer;
mod program_keys;
mod proof_client;
mod proof_runner;
mod request;
mod shrink_wrapper;

pub use cut::preview_cut;
pub use key_folder::default_key_folder;
pub use marker_sequencer::MarkerSequencer;
pub use proof_runner::{ProofRunnerSettings, Sp1ProofRunner};
pub use request::status_code;
pub use shrink_wrapper::ShrinkWrapper;
