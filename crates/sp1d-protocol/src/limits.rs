//! The limits of connections, messages and artifacts, for the table of limits.

use crate::{
    connection::{FILTER_LIMITS, HTTP2_LIMITS, PORT_LIMITS, PREAMBLE_LIMITS, QUEUE_LIMITS, RATE_LIMITS},
    message::MessageLimits,
};
use sp1d_model::Limit;

/// Returns the limits that the other side of a connection can reach.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    let of_ports = [PORT_LIMITS, FILTER_LIMITS, RATE_LIMITS, PREAMBLE_LIMITS, QUEUE_LIMITS];
    of_ports.into_iter().chain([HTTP2_LIMITS, MessageLimits::LIMITS]).flatten().chain(sp1d_artifacts::limits())
}
