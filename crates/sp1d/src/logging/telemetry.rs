//! Log lines and traces for an OpenTelemetry collector.

use super::start::LogLayer;
use anyhow::{Context, Result, bail};
use opentelemetry::{KeyValue, global::BoxedTracer, trace::TracerProvider};
use opentelemetry_appender_tracing::layer::{OpenTelemetryTracingBridge, TracingSpanAttributes};
use opentelemetry_otlp::{LogExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{self, LogBatch, SdkLoggerProvider},
    trace::{self, SdkTracerProvider, SpanData},
};
use std::{
    env,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    registry::LookupSpan,
};

/// How long the end of the process waits for unsent telemetry: once for traces and once for log lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Crates that the exporter itself uses. Their log lines are not exported: each export would create new lines without
/// end.
const OWN_TARGETS: [&str; 6] = ["opentelemetry", "h2", "hyper", "tonic", "tower", "reqwest"];

/// Environment variable with the collector's address, used when `--otlp` is not given.
pub(crate) const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

static TRACER: OnceLock<Arc<BoxedTracer>> = OnceLock::new();

/// Exports to a collector until it is dropped.
pub(crate) struct Telemetry {
    logs: SdkLoggerProvider,
    traces: SdkTracerProvider,
    /// Runs the connections to the collector. It has its own thread, so that exports continue while the program is busy
    /// or blocked.
    runtime: Option<Runtime>,
}

impl Telemetry {
    /// Starts exporting to the collector at `endpoint`. The collector may start later.
    pub(crate) fn start(endpoint: &str) -> Result<Self> {
        check(endpoint, env::var("OTEL_EXPORTER_OTLP_PROTOCOL").ok().as_deref())?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("telemetry").enable_all().build();
        let runtime = runtime.context("cannot start the telemetry thread")?;
        let (lines, spans) = {
            let _entered = runtime.enter();
            let lines = LogExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
            (lines, SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?)
        };
        let resource = resource();
        let logs = SdkLoggerProvider::builder().with_resource(resource.clone());
        let logs = logs.with_batch_exporter(ReportingExporter::new("log lines", lines)).build();
        let traces = SdkTracerProvider::builder().with_resource(resource);
        let traces = traces.with_batch_exporter(ReportingExporter::new("traces", spans)).build();
        // Ignore the error: a process has only one collector.
        let _ = TRACER.set(Arc::new(BoxedTracer::new(Box::new(traces.tracer("sp1d")))));
        Ok(Self { logs, traces, runtime: Some(runtime) })
    }

    /// Returns a layer that exports the log lines that pass `filter`.
    pub(crate) fn log_layer(&self, filter: &str) -> LogLayer {
        let filter = EnvFilter::new(filter).and(filter_fn(may_be_sent).with_max_level_hint(LevelFilter::TRACE));
        layer::<Registry>(&self.logs).with_filter(filter).boxed()
    }

    /// Returns the tracer, or `None` if nothing is exported.
    pub(crate) fn tracer() -> Option<Arc<BoxedTracer>> {
        TRACER.get().cloned()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // Telemetry that is still unsent after the timeout is lost. A failing collector has already been logged.
        let _ = self.traces.shutdown_with_timeout(FLUSH_TIMEOUT);
        let _ = self.logs.shutdown_with_timeout(FLUSH_TIMEOUT);
        // Do not wait for a pending name lookup.
        self.runtime.take().expect("only `drop` takes the runtime").shutdown_background();
    }
}

/// Wraps an exporter and logs when it starts and stops failing.
#[derive(Debug)]
struct ReportingExporter<E> {
    what: &'static str,
    exporter: E,
    failing: AtomicBool,
}

impl<E> ReportingExporter<E> {
    const fn new(what: &'static str, exporter: E) -> Self {
        Self { what, exporter, failing: AtomicBool::new(false) }
    }

    fn report(&self, outcome: OTelSdkResult) -> OTelSdkResult {
        if self.failing.swap(outcome.is_err(), Ordering::Relaxed) != outcome.is_err() {
            match &outcome {
                Ok(()) => tracing::info!(kind = self.what, "the collector accepts telemetry again"),
                Err(error) => {
                    tracing::warn!(kind = self.what, %error, "telemetry lost: the collector does not accept it")
                }
            }
        }
        outcome
    }
}

impl<E: logs::LogExporter> logs::LogExporter for ReportingExporter<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.report(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: trace::SpanExporter> trace::SpanExporter for ReportingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.report(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Adds the fields of a log line's spans to the line. A worker's spans contain the proof and the attempt.
fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(provider: &SdkLoggerProvider) -> impl Layer<S> + use<S> {
    let layer = OpenTelemetryTracingBridge::builder(provider);
    layer.with_tracing_span_attributes(TracingSpanAttributes::all()).build()
}

/// The name and version of the sender. The environment can set the name; the default is `sp1d`.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    let attributes = env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_named = env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty())
        || attributes.split(',').any(|attribute| attribute.trim().starts_with("service.name="));
    if is_named { resource.build() } else { resource.with_service_name("sp1d").build() }
}

/// Returns whether a log line may be exported.
fn may_be_sent(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    // Prefixes: `tower` also matches `tower_http`, and `hyper` matches `hyper_util`.
    OWN_TARGETS.iter().all(|own| !target.starts_with(own))
}

fn check(endpoint: &str, protocol: Option<&str>) -> Result<()> {
    if !endpoint.starts_with("http://") {
        bail!(
            "unsupported collector address {endpoint:?}: sp1d sends OTLP over gRPC without encryption\nhint: write the \
             address as http://HOST:4317, and run a collector beside sp1d if you need encryption"
        );
    }
    match protocol {
        None | Some("grpc" | "") => Ok(()),
        Some(other) => bail!(
            "unsupported OTEL_EXPORTER_OTLP_PROTOCOL {other:?}: sp1d supports only grpc\nhint: unset the variable for \
             sp1d, and use the collector's gRPC port (4317 by default)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tracing_subscriber::layer::SubscriberExt;

    /// Records the attributes of all exported lines.
    #[derive(Debug, Clone, Default)]
    struct AttributeRecorder(Arc<Mutex<Vec<String>>>);

    impl logs::LogExporter for AttributeRecorder {
        async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
            let attributes = batch.iter().map(|(line, _)| format!("{:?}", line.attributes_iter().collect::<Vec<_>>()));
            self.0.lock().unwrap().extend(attributes);
            Ok(())
        }
    }

    #[test]
    fn exported_lines_contain_the_fields_of_their_spans() {
        let recorder = AttributeRecorder::default();
        let provider = SdkLoggerProvider::builder().with_simple_exporter(recorder.clone()).build();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(&provider)), || {
            let _inside = tracing::info_span!("attempt", proof_id = "abc").entered();
            tracing::info!(seconds = 7, "attempt proven");
        });
        let recorder = recorder.0.lock().unwrap();
        assert!(
            recorder[0].contains("proof_id") && recorder[0].contains("abc") && recorder[0].contains("seconds"),
            "{recorder:?}"
        );
    }

    fn check_endpoint(endpoint: &str, protocol: Option<&str>, wrong: Option<&str>) {
        match (check(endpoint, protocol), wrong) {
            (Ok(()), None) => {}
            (Err(error), Some(wrong)) => assert!(error.to_string().contains(wrong), "{error}"),
            (outcome, _) => panic!("{endpoint} {protocol:?}: {outcome:?}"),
        }
    }

    #[test]
    fn unsupported_collector_settings_are_rejected() {
        check_endpoint("http://collector:4317", None, None);
        check_endpoint("http://collector:4317", Some("grpc"), None);
        check_endpoint("collector:4317", None, Some("http://HOST:4317"));
        check_endpoint("https://collector:4317", None, Some("without encryption"));
        check_endpoint("http://collector:4318", Some("http/protobuf"), Some("supports only grpc"));
    }
}
