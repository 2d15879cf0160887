//! The simulated machines, and the network between them and the orchestrator.
//!
//! This folder does not know the scheduler's state or what the driver does with a message.

mod agenda;
mod happening;
mod link;
mod machine;
mod message;
mod net;

pub(crate) use agenda::Agenda;
pub(crate) use happening::Happening;
pub(crate) use link::{Direction, SimLink};
pub(crate) use machine::SimMachine;
pub(crate) use message::{ToOrchestrator, ToWorker};
pub(crate) use net::Net;
pub use net::Trace;
