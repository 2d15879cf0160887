//! Log lines on stderr and to a collector.

use super::telemetry::{Telemetry, may_be_sent};
use crate::{
    args::{LogArguments, LogFormat},
    exit::CliError,
    terminal::AboveProgress,
};
use anyhow::Result;
use std::io::{self, IsTerminal};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, LevelFilter, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Starts logging to stderr, and to a collector if `telemetry` is given. Without `--log`, our own crates log at the
/// level `own` and all others at `error`.
pub(crate) fn start_logging(log: &LogArguments, own: &str, telemetry: Option<&Telemetry>) -> Result<()> {
    // SP1's `info` lines are only useful to its developers. `sp1d` is a prefix that matches the command and
    // our crates. `sp1_distributed` is the library for programs.
    let default = format!("error,sp1_prover=off,panic=off,opentelemetry=off,sp1d={own},sp1_distributed={own}");
    let text = log.log.as_ref().unwrap_or(&default);
    let filter = EnvFilter::try_new(text).map_err(|error| {
        let hint = "set `--log` or `SP1D_LOG` to a filter such as `info`";
        CliError::usage(format!("invalid log filter {text:?}: {error}\nhint: {hint}"))
    })?;
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(AboveProgress)
        .with_ansi(color)
        .with_file(log.log_source)
        .with_line_number(log.log_source)
        .with_target(log.log_source);
    let lines = match log.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let sent = telemetry.map(|telemetry| {
        let filter = EnvFilter::new(text).and(filter_fn(may_be_sent).with_max_level_hint(LevelFilter::TRACE));
        telemetry.layer().with_filter(filter)
    });
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(sent).init();
    Ok(())
}
