//! SP1's prover on a worker: its engine, with provers that cache or delay their proving keys.
//!
//! Knows nothing about SP1's controller or about connections.

mod attempt_client;
mod capabilities;
mod components;
mod core_prover;
mod engine;
mod loaded_engine;
mod missing_equipment;
mod recursion_keys;
mod recursion_prover;
mod slot_provers;
mod task_request;

pub use capabilities::Equipment;
pub use engine::{load_prover, start_estimate};
pub use loaded_engine::ProverSettings;
pub use missing_equipment::MissingEquipment;
