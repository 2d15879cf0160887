//! Wraps SP1 in traits without type parameters, so that this is the only crate that compiles SP1's prover.
//!
//! ```text
//!   orchestrator ──ProofRunner──────► Sp1ProofRunner     SP1's controller and executor, keys, verification; 60 MB
//!   worker ────────ProvingEngine────► Sp1ProvingEngine   SP1's prover engine; gigabytes of memory
//! ```
//!
//! `runner`, `proof_calls` and `verify` run on the orchestrator, `prover` on a worker, and `executor` on the
//! orchestrator and in clients that execute without proving. The files beside these folders are shared.
//!
//! This crate knows nothing about networks. SP1's requests to its artifact and task services go to an
//! [`sp1d_orchestrator::ProofHandle`] on the orchestrator and to a [`sp1d_worker::AttemptIo`] on a worker.

mod device;
mod executor;
mod file_decoding;
#[doc(hidden)]
pub mod fuzzing;
mod heap;
mod identity;
mod limits;
mod memory;
mod names;
mod options;
mod program;
mod proof_calls;
mod proof_file;
mod prover;
mod runner;
mod sp1_types;
mod task_lists;
mod thread_pool;
mod unread_input;
mod verify;

pub use device::{GPU_ATTEMPT_BYTES, MIN_FREE_GPU_BYTES, MIN_GPU_BYTES, ProverDevice, largest_gpu_cut, pinned_bytes};
pub use executor::{
    Executed, Leftovers, MachineError, NoLineLimit, check_executor_host, check_line_limit, check_temporary_folder,
    count_gas_on, execute_on, kill_executions, private_temporary_folder, remove_leftovers, warn_without_line_limit,
};
pub use file_decoding::FileDecodeError;
pub use identity::build_identity;
pub use limits::limits;
pub use memory::{LOAD_BYTES, REST_BYTES, SHARD_CELL_BYTES, smaller_cut, smallest_worker_bytes};
pub use options::{CutOption, CutOptions, OptionsError, ReplacedValue};
pub use program::{ProgramError, check_program};
pub use proof_calls::{ProofCalls, ProofIdentity, observe_proof_calls};
pub use proof_file::{BorrowedProof, ProofFile};
pub use prover::{Equipment, MissingEquipment, ProverSettings, load_prover, start_estimate};
pub use runner::{
    MarkerSequencer, ProofRunnerSettings, ShrinkWrapper, Sp1ProofRunner, check_input, check_recursion_keys,
    default_key_folder, preview_cut, status_code,
};
pub use sp1_hypercube::{HashableKey, SP1VerifyingKey};
pub use sp1_prover::worker::SP1Proof;
pub use sp1_types::{WrapProof, riscv_machine};
pub use thread_pool::start_thread_pool;
pub use unread_input::UnreadInput;
pub use verify::{EventLimits, ProofRejection, named_key, verify_proof};
