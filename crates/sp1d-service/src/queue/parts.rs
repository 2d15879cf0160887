//! Notices when a part of the service panics. A part is a task that runs as long as the service. A panic is a defect:
//! the rest of the service would continue without the part, and for example start no proof any more.

use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// The dead parts of the service, except those of the orchestrator.
#[derive(Debug, Default)]
pub(super) struct DeadParts {
    names: Mutex<Vec<&'static str>>,
    died: CancellationToken,
}

impl DeadParts {
    /// Watches the part `name`. Its task must hold the returned value until it ends.
    pub(super) fn watch(self: &Arc<Self>, name: &'static str) -> PartGuard {
        PartGuard { dead: self.clone(), name }
    }

    /// Returns the names of the dead parts.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a token that is cancelled when a part has died.
    pub(super) const fn died(&self) -> &CancellationToken {
        &self.died
    }
}

/// Watches one part as long as its task holds this value.
pub(crate) struct PartGuard {
    dead: Arc<DeadParts>,
    name: &'static str,
}

impl Drop for PartGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dead.names.lock().unwrap_or_else(PoisonError::into_inner).push(self.name);
            self.dead.died.cancel();
        }
    }
}
