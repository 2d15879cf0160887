//! Log lines on stderr.

use crate::{
    args::{LogArguments, LogFormat},
    exit::CliError,
    terminal::AboveProgress,
};
use anyhow::Result;
use std::io::{self, IsTerminal};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

/// What receives log lines.
pub(super) type LogLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging to stderr. Without `--log`, our own crates log at the level `own` and all others at `error`. `export`
/// returns a further receiver for the log lines that pass the given filter, or `None`.
pub(crate) fn start_logging(
    log: &LogArguments,
    own: &str,
    export: impl FnOnce(&str) -> Option<LogLayer>,
) -> Result<()> {
    // SP1's `info` lines are only useful to its developers. `sp1d` is a prefix that matches the command and its crates.
    let default = format!("error,sp1_prover=off,panic=off,opentelemetry=off,sp1d={own}");
    let text = log.log.as_ref().unwrap_or(&default);
    let filter = EnvFilter::try_new(text).map_err(|error| {
        let hint = "set `--log` or `SP1D_LOG` to a filter such as `info`";
        CliError::usage(format!("invalid log filter {text:?}: {error}\nhint: {hint}"))
    })?;
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer::<Registry>()
        .with_writer(AboveProgress)
        .with_ansi(color)
        .with_file(log.log_source)
        .with_line_number(log.log_source)
        .with_target(log.log_source);
    let lines: LogLayer = match log.log_format {
        LogFormat::Text => lines.with_filter(filter).boxed(),
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
    };
    let layers: Vec<LogLayer> = [lines].into_iter().chain(export(text)).collect();
    tracing_subscriber::registry().with(layers).init();
    Ok(())
}
