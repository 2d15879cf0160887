//! SP1 behind traits without type parameters: the one crate that compiles its prover.
//!
//! ```text
//!   orchestrator ──ProofController──► Controller   SP1's controller and executor, verifying keys, verification: light
//!   worker ────────ProvingEngine────► Prover       SP1's prover engine: gigabytes
//! ```
//!
//! It knows nothing of networks. What SP1 asks of its artifact and task services goes to a
//! [`orchestrator::ProofHandle`] on one side and to a [`worker::AttemptIo`] on the other.

mod abilities;
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
pub use controller::{Controller, ControllerSettings, preview_cut};
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
