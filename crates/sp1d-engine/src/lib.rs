//! Wraps SP1 in traits without type parameters, so that this is the only crate that compiles SP1's prover.
//!
//! ```text
//!   orchestrator ──ProofController──► Controller         SP1's controller and executor, keys, verification; 60 MB
//!   worker ────────ProvingEngine────► Sp1ProvingEngine   SP1's prover engine; gigabytes of memory
//! ```
//!
//! `controller` and `verify` run on the orchestrator, `prover` on a worker, and `executor` on the orchestrator and in
//! clients that execute without proving. The files beside these folders are shared.
//!
//! This crate knows nothing about networks. SP1's requests to its artifact and task services go to an
//! [`sp1d_orchestrator::ProofHandle`] on the orchestrator and to a [`sp1d_worker::AttemptIo`] on a worker.

mod controller;
mod executor;
mod heap;
mod identity;
mod memory;
mod names;
mod options;
mod program;
mod prover;
mod sp1_types;
mod task_lists;
mod thread_pool;
mod verify;

pub use controller::{
    Controller, ControllerSettings, MarkerSequencer, ShrinkWrapper, default_key_folder, preview_cut, status_code,
};
pub use executor::{
    Executed, Leftovers, MachineError, check_executor_host, check_temporary_folder, execute_on, kill_executions,
    remove_leftovers,
};
pub use identity::build_identity;
pub use memory::{LOAD_BYTES, REST_BYTES, smaller_cut, smallest_worker_bytes};
pub use options::{CutOption, CutOptions, OptionsError};
pub use program::{ProgramError, check_program};
pub use prover::{Equipment, MissingEquipment, ProverSettings, load_prover, start_estimate};
pub use sp1_types::WrapProof;
pub use thread_pool::start_thread_pool;
pub use verify::EventLimits;
