//! What is counted, for Prometheus. Names and units as <https://prometheus.io/docs/practices/naming> has them; no label
//! has a value without bound.

use client::ProofEvent;
use orchestrator::{Counts, Holdings, WorkerInfo};
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
use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::Ordering,
    time::Duration,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    mode: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    kind: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: String,
    status: u16,
}

/// Everything that is counted. Cheap to count in; what is only looked at when somebody asks is given then.
pub(crate) struct Metrics {
    registry: Registry,
    proofs: Family<State, Gauge>,
    proofs_ended: Family<Ended, Counter>,
    proof_seconds: Family<Ended, Histogram>,
    queue_seconds: Histogram,
    attempts: Family<Outcome, Counter>,
    attempt_seconds: Family<Kind, Histogram>,
    remembered: Family<Kind, Counter>,
    workers: Family<State, Gauge>,
    held: Gauge,
    slots: Gauge,
    sent_bytes: Counter,
    received_bytes: Counter,
    checks: Family<Verdict, Counter>,
    checking_seconds: Counter<f64>,
    sessions: Counter,
    silent_sessions: Counter,
    artifacts: Gauge,
    artifact_bytes: Gauge,
    free_bytes: Gauge,
    answers: Family<Answer, Counter>,
}

/// A second to nine hours, each twice the one before.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 16))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("sp1d");
        let metrics = Self {
            registry: Registry::default(),
            proofs: Family::default(),
            proofs_ended: Family::default(),
            proof_seconds: Family::new_with_constructor(seconds),
            queue_seconds: seconds(),
            attempts: Family::default(),
            attempt_seconds: Family::new_with_constructor(seconds),
            remembered: Family::default(),
            workers: Family::default(),
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
            answers: Family::default(),
        };
        registry.register("proofs", "Proofs that the service knows, by state", metrics.proofs.clone());
        registry.register("proofs_ended", "Proofs that ended, by mode and state", metrics.proofs_ended.clone());
        registry.register_with_unit(
            "proof_duration",
            "From the last beginning of a proof to its end",
            Unit::Seconds,
            metrics.proof_seconds.clone(),
        );
        registry.register_with_unit(
            "queue_duration",
            "From the acceptance of a proof to its first beginning",
            Unit::Seconds,
            metrics.queue_seconds.clone(),
        );
        registry.register("attempts", "Attempts that ended, by kind of task and outcome", metrics.attempts.clone());
        registry.register_with_unit(
            "attempt_duration",
            "From the beginning of proving to a result that counts",
            Unit::Seconds,
            metrics.attempt_seconds.clone(),
        );
        registry.register("tasks_remembered", "Tasks that needed not be done", metrics.remembered.clone());
        registry.register("workers", "Workers, by state", metrics.workers.clone());
        registry.register("attempts_held", "Attempts that workers hold", metrics.held.clone());
        registry.register("worker_slots", "Attempts that ready workers may hold", metrics.slots.clone());
        registry.register_with_unit(
            "sent",
            "Compressed size of artifacts that workers were sent",
            Unit::Bytes,
            metrics.sent_bytes.clone(),
        );
        registry.register_with_unit(
            "received",
            "Compressed size of artifacts that came from workers",
            Unit::Bytes,
            metrics.received_bytes.clone(),
        );
        registry.register("checks", "Checked results and claims of workers, by verdict", metrics.checks.clone());
        registry.register_with_unit(
            "checking",
            "Time that checking them took, over all threads",
            Unit::Seconds,
            metrics.checking_seconds.clone(),
        );
        registry.register("sessions", "Sessions with workers that began", metrics.sessions.clone());
        registry.register(
            "silent_sessions",
            "Sessions that ended because no sign of life came",
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
        registry.register("http_requests", "Answered requests, by method and status", metrics.answers.clone());
        Self { registry, ..metrics }
    }

    /// A proof was begun for the first time, after it had waited for so long.
    pub(crate) fn on_begun(&self, waited: Duration) {
        self.queue_seconds.observe(waited.as_secs_f64());
    }

    /// A proof ended.
    pub(crate) fn on_ended(&self, mode: &'static str, state: &'static str, took: Duration) {
        let ended = Ended { mode, state };
        self.proofs_ended.get_or_create(&ended).inc();
        self.proof_seconds.get_or_create(&ended).observe(took.as_secs_f64());
    }

    /// A request was answered. `method` is one of a few: whoever asks must not make labels.
    pub(crate) fn on_answer(&self, method: &str, status: u16) {
        self.answers.get_or_create(&Answer { method: method.to_owned(), status }).inc();
    }

    /// Takes over what the orchestrator counts itself.
    fn count(&self, counts: &Counts) {
        let set = |counter: &Counter, count: u64| counter.inner().store(count, Ordering::Relaxed);
        set(&self.sent_bytes, counts.sent_bytes);
        set(&self.received_bytes, counts.received_bytes);
        set(&self.checks.get_or_create(&Verdict { verdict: "right" }), counts.accepted);
        set(&self.checks.get_or_create(&Verdict { verdict: "wrong" }), counts.rejected);
        self.checking_seconds.inner().store(counts.checking.as_secs_f64().to_bits(), Ordering::Relaxed);
        set(&self.sessions, counts.sessions);
        set(&self.silent_sessions, counts.silent_sessions);
    }

    /// As Prometheus reads it.
    pub(crate) fn text(&self, now: &Now) -> String {
        for (state, count) in &now.proofs {
            self.proofs.get_or_create(&State { state }).set(signed(*count));
        }
        // A state that nobody is in any more would keep its last number.
        self.workers.clear();
        for worker in &now.workers {
            self.workers.get_or_create(&State { state: state_of(worker) }).inc();
        }
        self.workers.get_or_create(&State { state: "lost" }).set(signed(now.lost as u64));
        self.held.set(now.workers.iter().map(|worker| signed(worker.holds as u64)).sum());
        let may_hold = |worker: &&WorkerInfo| worker.ready && !worker.drained && worker.quarantine.is_none();
        self.slots.set(signed(now.workers.iter().filter(may_hold).map(|worker| u64::from(worker.slots)).sum()));
        self.count(&now.counts);
        self.artifacts.set(signed(now.holdings.artifacts as u64));
        self.artifact_bytes.set(signed(now.holdings.bytes));
        self.free_bytes.set(signed(now.free_bytes));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

/// What came of looking at what a worker said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    verdict: &'static str,
}

/// What is looked at when somebody asks.
pub(crate) struct Now {
    pub(crate) proofs: BTreeMap<&'static str, u64>,
    pub(crate) workers: Vec<WorkerInfo>,
    /// Workers that should be connected and are not.
    pub(crate) lost: usize,
    pub(crate) counts: Counts,
    pub(crate) holdings: Holdings,
    pub(crate) free_bytes: u64,
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What a worker is doing, in a word.
pub(crate) fn state_of(worker: &WorkerInfo) -> &'static str {
    match worker {
        WorkerInfo { ready: false, .. } => "starting",
        WorkerInfo { quarantine: Some(_), .. } => "quarantined",
        WorkerInfo { drained: true, holds: 0, .. } => "drained",
        WorkerInfo { drained: true, .. } => "draining",
        WorkerInfo { holds: 0, .. } => "idle",
        WorkerInfo { .. } => "busy",
    }
}

/// Counts the attempts of one proof.
#[derive(Default)]
pub(crate) struct Attempts {
    proving_since: HashMap<u64, i64>,
}

impl Attempts {
    /// Takes note of `event`, which happened at `at` milliseconds.
    pub(crate) fn on_event(&mut self, metrics: &Metrics, event: &ProofEvent, at: i64) {
        let (attempt, outcome) = match event {
            ProofEvent::Proving(attempt) => {
                self.proving_since.insert(attempt.attempt, at);
                return;
            }
            ProofEvent::Remembered { kind } => {
                metrics.remembered.get_or_create(&Kind { kind: kind.clone() }).inc();
                return;
            }
            ProofEvent::Done(attempt) => (attempt, "done"),
            ProofEvent::AttemptFailed { attempt, .. } => (attempt, "failed"),
            ProofEvent::Dropped(attempt) => (attempt, "dropped"),
            _ => return,
        };
        let since = self.proving_since.remove(&attempt.attempt);
        metrics.attempts.get_or_create(&Outcome { kind: attempt.kind.clone(), outcome }).inc();
        if let (Some(since), "done") = (since, outcome) {
            let seconds = at.saturating_sub(since) as f64 / 1000.0;
            metrics.attempt_seconds.get_or_create(&Kind { kind: attempt.kind.clone() }).observe(seconds);
        }
    }
}
