//! Starts logging for a command that can export its log lines, or whose log lines appear in those of its worker.

use crate::{
    args::{LogArguments, Sp1Command},
    exit::{self, CliError},
    logging::{self, ENDPOINT_VARIABLE, Telemetry},
};
use anyhow::Result;
use std::env;

/// Starts logging. `sp1d worker` and `sp1d serve` log at `info` and can export to a collector; other commands log
/// warnings.
pub(in crate::command) fn start_logging(command: &Sp1Command, log: &LogArguments) -> Result<Option<Telemetry>> {
    let export = match command {
        Sp1Command::Worker(arguments) => &arguments.export,
        Sp1Command::Serve(arguments) => &arguments.export,
        // A prover's log lines appear among the lines of its worker.
        Sp1Command::Prover(_) => return logging::start_logging(log, "info", |_| None).map(|()| None),
        _ => return logging::start_logging(log, "warn", |_| None).map(|()| None),
    };
    let from_environment = || env::var(ENDPOINT_VARIABLE).ok().filter(|endpoint| !endpoint.is_empty());
    let (telemetry, unusable) = match &export.otlp {
        Some(endpoint) => {
            let telemetry = Telemetry::start(endpoint)
                .map_err(|error| error.context(CliError::usage("cannot send telemetry to the address of --otlp")))?;
            (Some(telemetry), None)
        }
        None => match from_environment().map(|endpoint| Telemetry::start(&endpoint)).transpose() {
            Ok(telemetry) => (telemetry, None),
            // The variable may be meant for other programs, so an unusable value is not an error.
            Err(error) => (None, Some(error)),
        },
    };
    logging::start_logging(log, "info", |filter| telemetry.as_ref().map(|telemetry| telemetry.log_layer(filter)))?;
    if let Some(error) = unusable {
        let reason = exit::without_hints(&error);
        tracing::warn!(variable = ENDPOINT_VARIABLE, %reason, "telemetry disabled: unusable collector address");
    }
    Ok(telemetry)
}
