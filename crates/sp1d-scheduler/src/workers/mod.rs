//! The workers: their sessions and slots, leases, speed and standing.
//!
//! This folder knows attempts only by number, and knows no task or proof.

mod clock;
mod known_workers;
mod lease;
mod pace;
mod sessions;

pub(crate) use clock::LeaseClock;
pub use known_workers::QuarantineRules;
pub(crate) use known_workers::{KnownWorker, KnownWorkers, Standing, WorkerFault};
pub(crate) use lease::Leases;
pub use pace::PaceRules;
pub(crate) use pace::{PaceWatch, Paces};
pub(crate) use sessions::{JoinProperties, SessionState, WorkerSessions};
