//! Notices when a background task of the service panics. A background task is a tokio task that belongs to the service
//! and not to a request, for example the queue or the run of a proof. Such a panic is a defect: the rest of the service
//! would continue without the task, and for example start no proof any more. Texts for users call a
//! background task a part of the service.

use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// The background tasks of the service that panicked, except those of the orchestrator.
#[derive(Debug, Default)]
pub(super) struct DeadBackgroundTasks {
    names: Mutex<Vec<&'static str>>,
    died: CancellationToken,
}

impl DeadBackgroundTasks {
    /// Watches the background task `name`. The task must hold the returned value until it ends.
    pub(super) fn watch(self: &Arc<Self>, name: &'static str) -> BackgroundTaskGuard {
        BackgroundTaskGuard { dead: self.clone(), name }
    }

    /// Returns the names of the tasks that panicked.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a token that is cancelled when a background task has panicked.
    pub(super) const fn died(&self) -> &CancellationToken {
        &self.died
    }
}

/// Watches one background task as long as the task holds this value.
pub(crate) struct BackgroundTaskGuard {
    dead: Arc<DeadBackgroundTasks>,
    name: &'static str,
}

impl Drop for BackgroundTaskGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dead.names.lock().unwrap_or_else(PoisonError::into_inner).push(self.name);
            self.dead.died.cancel();
        }
    }
}
