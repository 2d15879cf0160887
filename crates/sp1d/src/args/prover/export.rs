//! Arguments about the export of log lines and traces.

use clap::Args;

/// Export of logs and traces.
#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// OpenTelemetry collector that gets the log lines and, from a service, a trace of each proof. Uses OTLP over gRPC
    /// [env: OTEL_EXPORTER_OTLP_ENDPOINT].
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
}
