//! Log lines and traces for an OpenTelemetry collector.

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
use tracing_subscriber::{Layer, registry::LookupSpan};

/// How long the end of the process waits for what has not been sent, for log lines and traces each.
const LAST_SENDING: Duration = Duration::from_secs(2);

/// What sending itself is made of: its log lines would be sent, and so never end.
const OWN_TARGETS: [&str; 6] = ["opentelemetry", "h2", "hyper", "tonic", "tower", "reqwest"];

/// Where the collector is, where the arguments do not say so.
pub(crate) const VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

static TRACER: OnceLock<Arc<BoxedTracer>> = OnceLock::new();

/// Sends to a collector, until it is dropped.
pub(crate) struct Telemetry {
    logs: SdkLoggerProvider,
    traces: SdkTracerProvider,
    /// Connections live on it. A thread of its own: that of a program that is busy or blocked sends nothing.
    runtime: Option<Runtime>,
}

impl Telemetry {
    /// For the collector at `endpoint`, which need not be there yet.
    pub(crate) fn start(endpoint: &str) -> Result<Self> {
        check(endpoint, env::var("OTEL_EXPORTER_OTLP_PROTOCOL").ok().as_deref())?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("telemetry").enable_all().build();
        let runtime = runtime.context("start the thread for telemetry")?;
        let (lines, spans) = {
            let _entered = runtime.enter();
            let lines = LogExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
            (lines, SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?)
        };
        let resource = resource();
        let logs = SdkLoggerProvider::builder().with_resource(resource.clone());
        let logs = logs.with_batch_exporter(Telling::new("log lines", lines)).build();
        let traces = SdkTracerProvider::builder().with_resource(resource);
        let traces = traces.with_batch_exporter(Telling::new("traces", spans)).build();
        // There is one collector in a process.
        let _ = TRACER.set(Arc::new(BoxedTracer::new(Box::new(traces.tracer("sp1d")))));
        Ok(Self { logs, traces, runtime: Some(runtime) })
    }

    /// Sends the log lines that it is given.
    pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        layer(&self.logs)
    }

    /// What makes traces, when they are sent anywhere.
    pub(crate) fn tracer() -> Option<Arc<BoxedTracer>> {
        TRACER.get().cloned()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // What has not been sent by then is lost, which was told.
        let _ = self.traces.shutdown_with_timeout(LAST_SENDING);
        let _ = self.logs.shutdown_with_timeout(LAST_SENDING);
        // Nobody waits for a name that is still being looked up.
        self.runtime.take().expect("there until now").shutdown_background();
    }
}

/// Says when what it sends through begins and ceases to fail.
#[derive(Debug)]
struct Telling<E> {
    what: &'static str,
    exporter: E,
    failing: AtomicBool,
}

impl<E> Telling<E> {
    const fn new(what: &'static str, exporter: E) -> Self {
        Self { what, exporter, failing: AtomicBool::new(false) }
    }

    fn tell(&self, outcome: OTelSdkResult) -> OTelSdkResult {
        if self.failing.swap(outcome.is_err(), Ordering::Relaxed) != outcome.is_err() {
            match &outcome {
                Ok(()) => tracing::info!("the collector takes {} again", self.what),
                Err(error) => {
                    tracing::warn!(%error, "the collector does not take {}; they are lost until it does", self.what)
                }
            }
        }
        outcome
    }
}

impl<E: logs::LogExporter> logs::LogExporter for Telling<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.tell(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: trace::SpanExporter> trace::SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.tell(self.exporter.export(batch).await)
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

/// With the fields of the spans that a log line is in: a worker's proof and attempt are there.
fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(provider: &SdkLoggerProvider) -> impl Layer<S> + use<S> {
    let layer = OpenTelemetryTracingBridge::builder(provider);
    layer.with_tracing_span_attributes(TracingSpanAttributes::all()).build()
}

/// Who sends: as the environment says, else `sp1d`.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    let attributes = env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_named = env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty())
        || attributes.split(',').any(|attribute| attribute.trim().starts_with("service.name="));
    if is_named { resource.build() } else { resource.with_service_name("sp1d").build() }
}

/// True for log lines that may be sent.
pub(crate) fn may_be_sent(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    // `tower_http` is `tower`, `hyper_util` is `hyper`.
    OWN_TARGETS.iter().all(|own| !target.starts_with(own))
}

fn check(endpoint: &str, protocol: Option<&str>) -> Result<()> {
    if !endpoint.starts_with("http://") {
        bail!(
            "{endpoint:?} is no collector that sp1d can speak to: telemetry goes by OTLP over gRPC without encryption, to http://HOST:4317; have a collector beside sp1d where encryption is needed"
        );
    }
    match protocol {
        None | Some("grpc" | "") => Ok(()),
        Some(other) => bail!(
            "OTEL_EXPORTER_OTLP_PROTOCOL is {other}, and sp1d has only grpc: unset it for sp1d, and name the collector's port for gRPC, 4317 by default"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tracing_subscriber::layer::SubscriberExt;

    /// Attributes of the lines that it was given.
    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl logs::LogExporter for Kept {
        async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
            let attributes = batch.iter().map(|(line, _)| format!("{:?}", line.attributes_iter().collect::<Vec<_>>()));
            self.0.lock().unwrap().extend(attributes);
            Ok(())
        }
    }

    #[test]
    fn a_line_has_what_its_spans_have() {
        let kept = Kept::default();
        let provider = SdkLoggerProvider::builder().with_simple_exporter(kept.clone()).build();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(&provider)), || {
            let _inside = tracing::info_span!("attempt", proof_id = "abc").entered();
            tracing::info!(seconds = 7, "attempt done");
        });
        let kept = kept.0.lock().unwrap();
        assert!(kept[0].contains("proof_id") && kept[0].contains("abc") && kept[0].contains("seconds"), "{kept:?}");
    }

    fn check_endpoint(endpoint: &str, protocol: Option<&str>, wrong: Option<&str>) {
        match (check(endpoint, protocol), wrong) {
            (Ok(()), None) => {}
            (Err(error), Some(wrong)) => assert!(error.to_string().contains(wrong), "{error}"),
            (outcome, _) => panic!("{endpoint} {protocol:?}: {outcome:?}"),
        }
    }

    #[test]
    fn a_collector_that_cannot_be_spoken_to_is_told_at_once() {
        check_endpoint("http://collector:4317", None, None);
        check_endpoint("http://collector:4317", Some("grpc"), None);
        check_endpoint("collector:4317", None, Some("http://HOST:4317"));
        check_endpoint("https://collector:4317", None, Some("without encryption"));
        check_endpoint("http://collector:4318", Some("http/protobuf"), Some("has only grpc"));
    }
}
