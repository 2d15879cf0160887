//! The memory of this machine, which all its workers share: reservations for attempts, corrected estimates, and the
//! wait for memory before a prover is loaded.
//!
//! ```text
//!   MemoryReservations ──► OwnEntry ──► ReservationFile ◄── the other workers on this machine
//!           │
//!           └──► fits, shares: pure functions of the entries and the measured memory
//! ```
//!
//! This module does not know orchestrators, sessions or what an attempt proves.

mod correction;
mod entry;
mod own_entry;
mod plan;
mod process_memory;
mod reservation;
mod reservation_file;
mod reservations;
mod shares;
mod start_lock;
mod wait;
mod worker_provers;

pub use plan::MemoryPlan;
pub(crate) use reservations::MemoryReservations;
pub use start_lock::StartLock;
pub use wait::{MemoryError, wait_for_memory};
