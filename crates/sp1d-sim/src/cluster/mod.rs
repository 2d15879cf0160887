//! The simulated machines, and the network between them and the orchestrator.
//!
//! This folder does not know the scheduler's state or what the driver does with a message.

mod agenda;
mod link;
mod machine;
mod message;
mod net;
mod world_event;

pub(crate) use agenda::Agenda;
pub(crate) use link::{Direction, SimLink};
pub(crate) use machine::SimMachine;
pub(crate) use message::{ToOrchestrator, ToWorker};
pub(crate) use net::Net;
pub use net::Trace;
pub(crate) use world_event::WorldEvent;
