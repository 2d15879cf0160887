//! What an operator sees of the service besides its API: metrics and traces. It reads events and snapshots, and knows
//! neither the database nor the queue.

mod metrics;
mod spans;
pub(crate) mod timeline;
mod worker_state;

pub(crate) use metrics::{AttemptMetrics, Metrics, MetricsSnapshot};
pub(crate) use spans::Spans;
pub(crate) use worker_state::state_of;
