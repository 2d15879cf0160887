//! Log lines on stderr, and their export with traces to an OpenTelemetry collector. This folder does not decide which
//! command logs what.

mod start;
#[cfg(feature = "prover")]
mod telemetry;

pub(crate) use start::start_logging;
#[cfg(feature = "prover")]
pub(crate) use telemetry::{ENDPOINT_VARIABLE, Telemetry};
