//! What an orchestrator counts, for whoever watches it over months.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What was counted since the orchestrator began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Compressed bytes of artifacts that workers were sent.
    pub sent_bytes: u64,
    /// Compressed bytes of artifacts that came from workers.
    pub received_bytes: u64,
    /// Results and claims that were right when they were checked.
    pub accepted: u64,
    /// Those that were wrong.
    pub rejected: u64,
    /// What checking them took, over all threads.
    pub checking: Duration,
    /// Sessions with workers that began.
    pub sessions: u64,
    /// Those that ended because nothing was heard.
    pub silent_sessions: u64,
}

/// Counts, from any thread.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    accepted: AtomicU64,
    rejected: AtomicU64,
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
        let count = if is_right { &self.accepted } else { &self.rejected };
        count.fetch_add(1, Ordering::Relaxed);
        self.checking_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn on_session(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_silence(&self) {
        self.silent_sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            sent_bytes: count(&self.sent_bytes),
            received_bytes: count(&self.received_bytes),
            accepted: count(&self.accepted),
            rejected: count(&self.rejected),
            checking: Duration::from_micros(count(&self.checking_micros)),
            sessions: count(&self.sessions),
            silent_sessions: count(&self.silent_sessions),
        }
    }
}
