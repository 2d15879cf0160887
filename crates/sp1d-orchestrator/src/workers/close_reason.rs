//! Why a session ended.

use crate::lock::lock;
use std::sync::Mutex;

/// Why a session ended. The first reason is the cause. Later reasons are its consequences, and are ignored.
#[derive(Debug, Default)]
pub(crate) struct CloseReason(Mutex<Option<String>>);

impl CloseReason {
    /// Records the reason unless there is one already. Returns true if this is the first reason.
    pub(crate) fn set(&self, reason: String) -> bool {
        let mut first = lock(&self.0);
        let is_first = first.is_none();
        first.get_or_insert(reason);
        is_first
    }

    /// Returns the first reason, and forgets it.
    pub(crate) fn take(&self) -> Option<String> {
        lock(&self.0).take()
    }
}
