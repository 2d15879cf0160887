//! What all parts print and write. It does not know what a part measures.

mod latency;

pub(crate) use latency::{LatencySummary, spread_of};
