//! Counters of an orchestrator, for long-term monitoring.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Counters since the orchestrator started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrchestratorCounts {
    /// Compressed bytes of artifacts sent to workers.
    pub sent_bytes: u64,
    /// Compressed bytes of artifacts received from workers.
    pub received_bytes: u64,
    /// Number of checks of results and of deferred events that found them right.
    pub checks_right: u64,
    /// Number of checks of results and of deferred events that found them wrong, or did not end in time.
    pub checks_wrong: u64,
    /// Time that the checks of results and deferred events took, summed over all threads.
    pub checking: Duration,
    /// Number of sessions with workers that started.
    pub sessions: u64,
    /// Number of sessions that ended because the worker was silent.
    pub silent_sessions: u64,
}

/// The same counters, which any thread can update.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    checks_right: AtomicU64,
    checks_wrong: AtomicU64,
    checking_micros: AtomicU64,
    sessions: AtomicU64,
    silent_sessions: AtomicU64,
}

impl Counters {
    pub(crate) fn on_sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn on_received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn on_checked(&self, took: Duration, is_right: bool) {
        let count = if is_right { &self.checks_right } else { &self.checks_wrong };
        count.fetch_add(1, Ordering::Relaxed);
        self.checking_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn on_session(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_silence(&self) {
        self.silent_sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> OrchestratorCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OrchestratorCounts {
            sent_bytes: count(&self.sent_bytes),
            received_bytes: count(&self.received_bytes),
            checks_right: count(&self.checks_right),
            checks_wrong: count(&self.checks_wrong),
            checking: Duration::from_micros(count(&self.checking_micros)),
            sessions: count(&self.sessions),
            silent_sessions: count(&self.silent_sessions),
        }
    }
}
