//! Arguments about log lines.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct LogArguments {
    /// Log filter, for example `info` or `sp1d_worker=debug` [default: info for `worker` and `serve`, warn
    /// for other commands].
    #[arg(long, global = true, env = "SP1D_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Format of log lines.
    #[arg(long, global = true, env = "SP1D_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Show the source file and line of each log line.
    #[arg(long, global = true)]
    pub(crate) log_source: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[cfg(feature = "prover")]
impl LogFormat {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}
