//! Wraps SP1 in traits without type parameters, so that this is the only crate that compiles SP1's prover.
//!
//! ```text
//!   orchestrator ──ProofController──► Controller   SP1's controller and executor, verifying keys, verification; 60 MB
//!   worker ────────ProvingEngine────► Prover       SP1's prover engine; gigabytes of memory
//! ```
//!
//! This crate knows nothing about networks. SP1's requests to its artifact and task services go to an
//! [`orchestrator::ProofHandle`] on the orchestrator and to a [`worker::AttemptIo`] on a worker.

mod abilities;
mod accesses;
mod check;
mod controller;
mod controller_clients;
mod execution;
mod heap;
mod host;
mod identity;
mod input_proofs;
mod keys;
mod marker_order;
mod memory;
mod names;
mod options;
mod program;
mod prover;
mod prover_clients;
mod run;
mod shrink_wrap;
mod thread_pool;

pub use abilities::Equipment;
pub use check::EventLimits;
pub use controller::{Controller, ControllerSettings, preview_cut, status_code};
pub use execution::{Leftovers, kill_executions, remove_leftovers};
pub use host::{HostError, check_executor_host, check_temporary_folder};
pub use identity::build_identity;
pub use keys::default_key_folder;
pub use marker_order::MarkerOrder;
pub use memory::{LOAD_BYTES, REST_BYTES, smaller_cut, smallest_worker_bytes};
pub use options::{CutOption, CutOptions, OptionsError};
pub use program::{ProgramError, check_program};
pub use prover::{ProverSettings, load_prover, start_estimate};
pub use run::{Executed, execute_on};
pub use shrink_wrap::{ShrinkWrapper, WrapProof};
pub use thread_pool::start_thread_pool;
