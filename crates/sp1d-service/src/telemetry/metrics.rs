//! Metrics for Prometheus. Names and units follow <https://prometheus.io/docs/practices/naming>. Each label has a
//! bounded set of values.

use super::worker_state::state_of;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use sp1d_model::{AttemptId, ProofEvent, TaskKind, WorkerActivity};
use sp1d_orchestrator::{Holdings, OrchestratorCounts, WorkerInfo};
use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndedProofLabels {
    mode: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskKindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptOutcomeLabels {
    kind: &'static str,
    outcome: &'static str,
}

/// Labels: a kind of task, and why its worker no longer has an attempt: `disconnected` or `taken_back`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InterruptionLabels {
    kind: &'static str,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpRequestLabels {
    method: String,
    status: u16,
}

/// Labels: a call of sp1-sdk's network client, and the code of its response.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostedCallLabels {
    call: &'static str,
    code: &'static str,
}

/// Labels: a connected worker, and the number of one of its GPUs. Both are bounded by the places for workers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GpuLabels {
    worker: String,
    gpu: u32,
}

/// Label: outcome of the check of a result or of deferred events from a worker, `right` or `wrong`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckOutcomeLabels {
    outcome: &'static str,
}

/// All metrics of the service. Updating a counter is cheap. Gauges and the orchestrator's counters are set from
/// [`MetricsSnapshot`] when a client requests the metrics.
pub(crate) struct Metrics {
    registry: Registry,
    proofs: Family<StateLabels, Gauge>,
    proofs_ended: Family<EndedProofLabels, Counter>,
    proof_seconds: Family<EndedProofLabels, Histogram>,
    queue_seconds: Histogram,
    attempts: Family<AttemptOutcomeLabels, Counter>,
    attempt_seconds: Family<TaskKindLabels, Histogram>,
    interruptions: Family<InterruptionLabels, Counter>,
    cached_tasks: Family<TaskKindLabels, Counter>,
    open_tasks: Gauge,
    workers: Family<StateLabels, Gauge>,
    gpu_memory: Family<GpuLabels, Gauge>,
    gpu_utilization: Family<GpuLabels, Gauge>,
    gpu_temperature: Family<GpuLabels, Gauge>,
    gpu_power: Family<GpuLabels, Gauge<f64, AtomicU64>>,
    held: Gauge,
    slots: Gauge,
    sent_bytes: Counter,
    received_bytes: Counter,
    checks: Family<CheckOutcomeLabels, Counter>,
    checking_seconds: Counter<f64>,
    sessions: Counter,
    silent_sessions: Counter,
    artifacts: Gauge,
    artifact_bytes: Gauge,
    free_bytes: Gauge,
    /// Not registered without an archive.
    archive_age: Gauge,
    http_requests: Family<HttpRequestLabels, Counter>,
    hosted_calls: Family<HostedCallLabels, Counter>,
}

/// Returns a histogram with 16 buckets from 1 s to 32768 s (nine hours), each twice as long as the one before.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 16))
}

impl Metrics {
    pub(crate) fn new(has_archive: bool) -> Self {
        let mut registry = Registry::with_prefix("sp1d");
        let metrics = Self {
            registry: Registry::default(),
            proofs: Family::default(),
            proofs_ended: Family::default(),
            proof_seconds: Family::new_with_constructor(seconds),
            queue_seconds: seconds(),
            attempts: Family::default(),
            attempt_seconds: Family::new_with_constructor(seconds),
            interruptions: Family::default(),
            cached_tasks: Family::default(),
            open_tasks: Gauge::default(),
            workers: Family::default(),
            gpu_memory: Family::default(),
            gpu_utilization: Family::default(),
            gpu_temperature: Family::default(),
            gpu_power: Family::default(),
            held: Gauge::default(),
            slots: Gauge::default(),
            sent_bytes: Counter::default(),
            received_bytes: Counter::default(),
            checks: Family::default(),
            checking_seconds: Counter::default(),
            sessions: Counter::default(),
            silent_sessions: Counter::default(),
            artifacts: Gauge::default(),
            artifact_bytes: Gauge::default(),
            free_bytes: Gauge::default(),
            archive_age: Gauge::default(),
            http_requests: Family::default(),
            hosted_calls: Family::default(),
        };
        registry.register("proofs", "Stored proofs, by state", metrics.proofs.clone());
        registry.register("proofs_ended", "Proofs that ended, by mode and final state", metrics.proofs_ended.clone());
        registry.register_with_unit(
            "proof_duration",
            "Time from the last start of a proof to its end",
            Unit::Seconds,
            metrics.proof_seconds.clone(),
        );
        registry.register_with_unit(
            "queue_duration",
            "Time from the acceptance of a proof to its first start",
            Unit::Seconds,
            metrics.queue_seconds.clone(),
        );
        registry.register("attempts", "Attempts that ended, by task kind and outcome", metrics.attempts.clone());
        registry.register_with_unit(
            "attempt_duration",
            "Time from the start of proving to the accepted result, by task kind",
            Unit::Seconds,
            metrics.attempt_seconds.clone(),
        );
        registry.register(
            "interruptions",
            "Attempts that their workers no longer have, by task kind and cause. They may continue",
            metrics.interruptions.clone(),
        );
        registry.register(
            "tasks_cached",
            "Tasks whose result was in the result cache, by task kind",
            metrics.cached_tasks.clone(),
        );
        registry.register("open_tasks", "Known tasks of running proofs that are not done", metrics.open_tasks.clone());
        registry.register("workers", "Workers, by state", metrics.workers.clone());
        registry.register_with_unit(
            "gpu_memory_used",
            "Used memory of a worker's GPU",
            Unit::Bytes,
            metrics.gpu_memory.clone(),
        );
        registry.register(
            "gpu_utilization_percent",
            "Percentage of the time in which a worker's GPU computed",
            metrics.gpu_utilization.clone(),
        );
        registry.register_with_unit(
            "gpu_temperature",
            "Temperature of a worker's GPU",
            Unit::Celsius,
            metrics.gpu_temperature.clone(),
        );
        registry.register("gpu_power_watts", "Power of a worker's GPU", metrics.gpu_power.clone());
        registry.register("attempts_held", "Attempts that workers hold", metrics.held.clone());
        registry.register(
            "worker_slots",
            "Attempts that workers may hold: those that are ready, not draining or drained, and quarantined for no kind",
            metrics.slots.clone(),
        );
        registry.register_with_unit(
            "sent",
            "Compressed size of the artifacts sent to workers",
            Unit::Bytes,
            metrics.sent_bytes.clone(),
        );
        registry.register_with_unit(
            "received",
            "Compressed size of the artifacts received from workers",
            Unit::Bytes,
            metrics.received_bytes.clone(),
        );
        registry.register(
            "checks",
            "Checks of results and deferred events from workers, by outcome",
            metrics.checks.clone(),
        );
        registry.register_with_unit(
            "checking",
            "Time spent on checks of results and deferred events, summed over all threads",
            Unit::Seconds,
            metrics.checking_seconds.clone(),
        );
        registry.register("sessions", "Sessions with workers that started", metrics.sessions.clone());
        registry.register(
            "silent_sessions",
            "Sessions that ended because the worker was silent for too long",
            metrics.silent_sessions.clone(),
        );
        registry.register("artifacts", "Artifacts of running proofs", metrics.artifacts.clone());
        registry.register_with_unit(
            "artifacts_stored",
            "Compressed size of the artifacts of running proofs, in memory and on disk",
            Unit::Bytes,
            metrics.artifact_bytes.clone(),
        );
        registry.register_with_unit(
            "state_free",
            "Free space of the disk with the state folder",
            Unit::Bytes,
            metrics.free_bytes.clone(),
        );
        if has_archive {
            registry.register_with_unit(
                "archive_age",
                "Time since the archive last contained the whole state",
                Unit::Seconds,
                metrics.archive_age.clone(),
            );
        }
        registry.register(
            "http_requests",
            "HTTP requests with a response, by method and status",
            metrics.http_requests.clone(),
        );
        registry.register(
            "hosted_calls",
            "Calls of sp1-sdk's network client with a response, by call and code",
            metrics.hosted_calls.clone(),
        );
        Self { registry, ..metrics }
    }

    /// Records the first start of a proof, which was in the queue for `waited`.
    pub(crate) fn on_started(&self, waited: Duration) {
        self.queue_seconds.observe(waited.as_secs_f64());
    }

    /// Records the end of a proof, `took` after its last start.
    pub(crate) fn on_ended(&self, mode: &'static str, state: &'static str, took: Duration) {
        let ended = EndedProofLabels { mode, state };
        self.proofs_ended.get_or_create(&ended).inc();
        self.proof_seconds.get_or_create(&ended).observe(took.as_secs_f64());
    }

    /// Records the response to an HTTP request. `method` must come from a small fixed set, because clients must not be
    /// able to create labels.
    pub(crate) fn on_response(&self, method: &str, status: u16) {
        self.http_requests.get_or_create(&HttpRequestLabels { method: method.to_owned(), status }).inc();
    }

    /// Records the response to a call of sp1-sdk's network client.
    pub(crate) fn on_hosted_call(&self, call: &'static str, code: &'static str) {
        self.hosted_calls.get_or_create(&HostedCallLabels { call, code }).inc();
    }

    fn on_interruption(&self, kind: TaskKind, cause: &'static str) {
        self.interruptions.get_or_create(&InterruptionLabels { kind: kind.name(), cause }).inc();
    }

    /// Copies the orchestrator's own counters.
    fn count(&self, counts: &OrchestratorCounts) {
        let set = |counter: &Counter, count: u64| counter.inner().store(count, Ordering::Relaxed);
        set(&self.sent_bytes, counts.sent_bytes);
        set(&self.received_bytes, counts.received_bytes);
        set(&self.checks.get_or_create(&CheckOutcomeLabels { outcome: "right" }), counts.checks_right);
        set(&self.checks.get_or_create(&CheckOutcomeLabels { outcome: "wrong" }), counts.checks_wrong);
        self.checking_seconds.inner().store(counts.checking.as_secs_f64().to_bits(), Ordering::Relaxed);
        set(&self.sessions, counts.sessions);
        set(&self.silent_sessions, counts.silent_sessions);
    }

    /// Sets what the connected workers last reported about their GPUs.
    fn set_gpus(&self, workers: &[WorkerInfo]) {
        self.gpu_memory.clear();
        self.gpu_utilization.clear();
        self.gpu_temperature.clear();
        self.gpu_power.clear();
        for worker in workers {
            for gpu in &worker.gpus {
                let labels = GpuLabels { worker: worker.name.clone(), gpu: gpu.index };
                if let Some(bytes) = gpu.used_bytes {
                    self.gpu_memory.get_or_create(&labels).set(signed(bytes));
                }
                if let Some(percent) = gpu.utilization_percent {
                    self.gpu_utilization.get_or_create(&labels).set(percent.into());
                }
                if let Some(celsius) = gpu.celsius {
                    self.gpu_temperature.get_or_create(&labels).set(celsius.into());
                }
                if let Some(milliwatts) = gpu.milliwatts {
                    self.gpu_power.get_or_create(&labels).set(f64::from(milliwatts) / 1000.0);
                }
            }
        }
    }

    /// Sets the values of `now` and returns all metrics as OpenMetrics text.
    pub(crate) fn text(&self, now: &MetricsSnapshot) -> String {
        for (state, count) in &now.proofs {
            self.proofs.get_or_create(&StateLabels { state }).set(signed(*count));
        }
        self.open_tasks.set(signed(now.open_tasks));
        // Otherwise a state that no worker is in would keep its last number.
        self.workers.clear();
        for worker in &now.workers {
            self.workers.get_or_create(&StateLabels { state: state_of(worker).name() }).inc();
        }
        let disconnected = StateLabels { state: WorkerActivity::Disconnected.name() };
        self.workers.get_or_create(&disconnected).set(signed(now.disconnected as u64));
        self.set_gpus(&now.workers);
        self.held.set(now.workers.iter().map(|worker| signed(worker.holds as u64)).sum());
        let may_hold =
            |worker: &&WorkerInfo| worker.has_loaded_prover && !worker.draining && worker.quarantine.is_none();
        self.slots.set(signed(now.workers.iter().filter(may_hold).map(|worker| u64::from(worker.slots)).sum()));
        self.count(&now.counts);
        self.artifacts.set(signed(now.holdings.artifacts as u64));
        self.artifact_bytes.set(signed(now.holdings.bytes));
        self.free_bytes.set(signed(now.free_bytes));
        if let Some(age) = now.archive_age {
            self.archive_age.set(signed(age.as_secs()));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

/// Current values that are collected when a client requests the metrics.
pub(crate) struct MetricsSnapshot {
    pub(crate) proofs: BTreeMap<&'static str, u64>,
    /// Known tasks of running proofs that are not done.
    pub(crate) open_tasks: u64,
    pub(crate) workers: Vec<WorkerInfo>,
    /// Workers that should be connected and are not.
    pub(crate) disconnected: usize,
    pub(crate) counts: OrchestratorCounts,
    pub(crate) holdings: Holdings,
    pub(crate) free_bytes: u64,
    /// `None` without an archive.
    pub(crate) archive_age: Option<Duration>,
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Updates the attempt metrics from the events of one proof.
#[derive(Default)]
pub(crate) struct AttemptMetrics {
    /// When each attempt was first reported as being proven. Stays after an interruption, because the attempt may
    /// continue.
    proving_since: HashMap<AttemptId, i64>,
}

impl AttemptMetrics {
    /// Processes `event`, which happened at `at`, in milliseconds since 1970.
    pub(crate) fn on_event(&mut self, metrics: &Metrics, event: &ProofEvent, at: i64) {
        let (attempt, outcome) = match event {
            ProofEvent::Proving(attempt) => {
                // An attempt that continues is reported once more.
                self.proving_since.entry(attempt.attempt).or_insert(at);
                return;
            }
            // Not ends: the attempt can continue, and its result can still arrive.
            ProofEvent::Interrupted(attempt) => return metrics.on_interruption(attempt.kind, "disconnected"),
            ProofEvent::TakenBack(attempt) => return metrics.on_interruption(attempt.kind, "taken_back"),
            ProofEvent::CachedResult { kind } => {
                metrics.cached_tasks.get_or_create(&TaskKindLabels { kind: kind.name() }).inc();
                return;
            }
            ProofEvent::Done(attempt) => (attempt, "done"),
            ProofEvent::AttemptFailed { attempt, .. } => (attempt, "failed"),
            ProofEvent::Dropped(attempt) => (attempt, "dropped"),
            _ => return,
        };
        let since = self.proving_since.remove(&attempt.attempt);
        metrics.attempts.get_or_create(&AttemptOutcomeLabels { kind: attempt.kind.name(), outcome }).inc();
        if let (Some(since), "done") = (since, outcome) {
            let seconds = at.saturating_sub(since) as f64 / 1000.0;
            metrics.attempt_seconds.get_or_create(&TaskKindLabels { kind: attempt.kind.name() }).observe(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_model::{AttemptInfo, TaskId};
    use std::collections::BTreeSet;

    /// Returns the names of all metrics, as Prometheus stores them. Histograms have no suffix.
    fn registered() -> BTreeSet<String> {
        let metrics = Metrics::new(true);
        // A metric with labels appears with its first value.
        metrics.on_ended("core", "done", Duration::ZERO);
        metrics.on_response("GET", 200);
        metrics.on_hosted_call("send", "ok");
        let (kind, outcome) = ("prove_shard", "done");
        metrics.attempts.get_or_create(&AttemptOutcomeLabels { kind, outcome }).inc();
        metrics.attempt_seconds.get_or_create(&TaskKindLabels { kind }).observe(1.0);
        metrics.on_interruption(TaskKind::ProveShard, "disconnected");
        metrics.cached_tasks.get_or_create(&TaskKindLabels { kind }).inc();
        metrics.proofs.get_or_create(&StateLabels { state: "done" }).inc();
        metrics.workers.get_or_create(&StateLabels { state: "idle" }).inc();
        metrics.checks.get_or_create(&CheckOutcomeLabels { outcome: "right" }).inc();
        let gpu = GpuLabels { worker: "worker".to_owned(), gpu: 0 };
        for gauge in [&metrics.gpu_memory, &metrics.gpu_utilization, &metrics.gpu_temperature] {
            gauge.get_or_create(&gpu).set(1);
        }
        metrics.gpu_power.get_or_create(&gpu).set(1.0);
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        let described = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        described
            .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
            .collect()
    }

    #[test]
    fn an_interrupted_attempt_counts_once_when_it_ends() {
        let (metrics, mut attempts) = (Metrics::new(false), AttemptMetrics::default());
        let attempt = |number| AttemptInfo {
            task: TaskId(7),
            attempt: AttemptId(number),
            kind: TaskKind::ProveShard,
            cycles: 0,
            worker: "one".into(),
        };
        let events = [
            ProofEvent::Proving(attempt(1)),
            ProofEvent::Interrupted(attempt(1)),
            ProofEvent::Continued(attempt(1)),
            ProofEvent::Proving(attempt(1)),
            ProofEvent::Done(attempt(1)),
            // The result arrives although the attempt was taken back.
            ProofEvent::Proving(attempt(2)),
            ProofEvent::TakenBack(attempt(2)),
            ProofEvent::Done(attempt(2)),
        ];
        for (at, event) in (0..).step_by(10_000).zip(&events) {
            attempts.on_event(&metrics, event, at);
        }
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        let mut found: Vec<&str> = text
            .lines()
            .filter(|line| ["sp1d_attempt", "sp1d_interruptions"].iter().any(|name| line.starts_with(name)))
            .filter(|line| ["_total{", "_count{", "_sum{"].iter().any(|part| line.contains(part)))
            .collect();
        let mut expected = vec![
            "sp1d_attempts_total{kind=\"prove_shard\",outcome=\"done\"} 2",
            "sp1d_attempt_duration_seconds_sum{kind=\"prove_shard\"} 60.0",
            "sp1d_attempt_duration_seconds_count{kind=\"prove_shard\"} 2",
            "sp1d_interruptions_total{kind=\"prove_shard\",cause=\"disconnected\"} 1",
            "sp1d_interruptions_total{kind=\"prove_shard\",cause=\"taken_back\"} 1",
        ];
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }

    /// Returns the names of metrics in `text`.
    fn named_in(text: &str) -> BTreeSet<String> {
        let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        let names = text.split(|letter| !is_part(letter)).filter(|name| name.starts_with("sp1d_"));
        names.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
    }

    #[test]
    fn the_dashboard_shows_every_metric_and_no_other() {
        assert_eq!(named_in(include_str!("../../../../packaging/grafana/sp1d.json")), registered());
    }

    #[test]
    fn the_guide_lists_every_metric_and_no_other() {
        let guide = include_str!("../../../../docs/guide/service.md");
        let rows: Vec<&str> = guide.lines().filter(|line| line.starts_with("| `sp1d_")).collect();
        assert_eq!(named_in(&rows.join("\n")), registered());
    }
}
