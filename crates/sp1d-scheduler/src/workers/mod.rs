//! The workers: their sessions and slots, leases, speed and standing.
//!
//! This folder knows attempts and tasks only by number, and knows no try.

mod clock;
mod known_worker;
mod known_workers;
mod lease;
mod origin;
mod pace;
mod ready_worker;
mod sessions;
mod standing;

pub(crate) use clock::SchedulerClock;
pub(crate) use known_worker::{KnownWorker, PresentQuarantine};
pub(crate) use known_workers::{KnownWorkers, LIMITS as WORKER_LIMITS, WorkerFault};
pub(crate) use lease::Leases;
pub use origin::OriginId;
pub use pace::PaceRules;
pub(crate) use pace::{ExpectedDuration, PaceWatch, Paces};
pub use ready_worker::ReadyWorker;
pub(crate) use sessions::{SessionState, WorkerSessions};
pub(crate) use standing::Faults;
pub use standing::QuarantineRules;
