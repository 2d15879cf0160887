//! Honest peers that must not notice an attack: requesters with proofs, and monitors of the health and of the ports.

mod monitor;
mod requester;

pub(crate) use monitor::HonestMonitor;
pub(crate) use requester::{HonestFault, HonestRequester};
