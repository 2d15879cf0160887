//! SP1's prover on a worker: its engine, on the processor with provers that cache or delay their proving keys, or on a
//! GPU with SP1's CUDA provers.
//!
//! Knows nothing about SP1's controller or about connections.

mod attempt_client;
mod capabilities;
mod components;
mod core_prover;
mod engine;
#[cfg(feature = "gpu")]
mod gpu;
mod loaded_engine;
mod missing_equipment;
mod place_provers;
mod recursion_keys;
mod recursion_prover;
mod task_request;

pub use capabilities::Equipment;
pub use engine::{load_prover, start_estimate};
pub use loaded_engine::ProverSettings;
pub use missing_equipment::MissingEquipment;
