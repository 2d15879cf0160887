//! Attacks of a worker that has joined.

mod identity;
mod member;
mod messages;
mod reads;
mod results;
mod uploads;

pub(super) use identity::{flapping, many_names};
pub(super) use messages::{held_tasks, log_flood, nonsense_messages, silent_session};
pub(super) use reads::{foreign_inputs, unread_artifacts};
pub(super) use results::{lying_results, slow_checks};
pub(super) use uploads::{endless_deliveries, many_streams, one_byte_chunks, oversize_artifacts, undeclared_artifacts};
