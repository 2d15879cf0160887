//! An attempt's reservation, and its place in the queue for one. Both end when they are dropped.

use super::own_entry::{OwnEntry, clock_ms};

/// Memory that is reserved for an attempt. Released when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    own: OwnEntry,
    bytes: u64,
}

impl Reservation {
    /// Returns a value that releases `bytes`, which must be reserved in `own` already.
    pub(super) fn new(own: OwnEntry, bytes: u64) -> Self {
        Self { own, bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        {
            let mut state = self.own.state();
            state.reserved_bytes = state.reserved_bytes.saturating_sub(self.bytes);
        }
        self.own.write();
    }
}

/// An attempt that waits for memory. It leaves the queue when dropped.
pub(super) struct WaitingAttempt<'a> {
    own: &'a OwnEntry,
    position: (u64, u64),
}

impl<'a> WaitingAttempt<'a> {
    pub(super) fn start(own: &'a OwnEntry) -> Self {
        let mut state = own.state();
        state.last_waiting += 1;
        let position = (clock_ms(), state.last_waiting);
        state.waiting.insert(position);
        Self { own, position }
    }

    /// Returns the time in milliseconds at which the attempt started to wait, and its number.
    pub(super) fn position(&self) -> (u64, u64) {
        self.position
    }
}

impl Drop for WaitingAttempt<'_> {
    fn drop(&mut self) {
        self.own.state().waiting.remove(&self.position);
        self.own.write();
    }
}
