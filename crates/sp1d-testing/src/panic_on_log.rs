//! A defect at a chosen place: a log subscriber that panics.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
    subscriber::NoSubscriber,
};

/// Module of the dispatcher, which logs each event and each command.
const DISPATCHER: &str = "sp1d_orchestrator::dispatch::dispatcher";

/// Makes the dispatcher panic. It is a log subscriber for the thread of a test: once armed, it panics at the next line
/// that the dispatcher logs. All tasks of the test must run on this thread.
#[derive(Debug, Clone)]
pub struct DispatcherPanic {
    armed: Arc<AtomicBool>,
    /// With only one subscriber in the process, `tracing` asks the subscriber of the thread that first reaches a log
    /// line whether the line matters, and remembers that for all threads. With a second one, it asks both.
    _second: Dispatch,
}

impl Default for DispatcherPanic {
    fn default() -> Self {
        Self { armed: Arc::default(), _second: Dispatch::new(NoSubscriber::default()) }
    }
}

impl DispatcherPanic {
    /// Lets the dispatcher panic at the next line that it logs, once.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
    }
}

impl Subscriber for DispatcherPanic {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == DISPATCHER
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        assert!(!self.armed.swap(false, Ordering::Relaxed), "a test lets the dispatcher panic");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
