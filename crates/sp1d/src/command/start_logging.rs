//! Starts logging for the subcommand that the user chose.

#[cfg(feature = "prover")]
use super::prover;
use crate::{
    args::{CliArguments, CliCommand, ServiceCommand},
    logging,
};
use anyhow::Result;
use std::{
    any::Any,
    io::{self, IsTerminal},
};

/// Starts logging. The returned value must live until the end of `main`: dropping it sends the remaining telemetry.
pub(crate) fn start_logging(arguments: &CliArguments) -> Result<Option<Box<dyn Any>>> {
    match &arguments.command {
        #[cfg(feature = "prover")]
        CliCommand::Prover(command) => {
            let telemetry = prover::start_logging(command, &arguments.log)?;
            Ok(telemetry.map(|telemetry| Box::new(telemetry) as Box<dyn Any>))
        }
        // Log lines would corrupt the screen.
        CliCommand::Service(ServiceCommand::Top(_)) if io::stderr().is_terminal() => Ok(None),
        _ => logging::start_logging(&arguments.log, "warn", |_| None).map(|()| None),
    }
}
