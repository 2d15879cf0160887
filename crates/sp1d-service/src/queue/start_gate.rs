//! Lets nothing run before the start of the service is recorded.

use super::{
    request::RequestError,
    service::{Service, ServiceInner},
    start_record::StartInputs,
};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Pause between two tries to record the start.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

impl ServiceInner {
    /// Waits until the start is recorded. Returns false if the service stops first.
    pub(super) async fn wait_for_start(self: &Arc<Self>) -> bool {
        while self.start.obstacle().is_some() {
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = sleep(RETRY_PAUSE) => {}
            }
            let inner = self.clone();
            let tried = tokio::task::spawn_blocking(move || {
                inner.start.try_again(&StartInputs {
                    folder: &inner.settings.state,
                    database: &inner.database,
                    result_cache: &inner.result_cache,
                    space: &inner.space,
                    clock: &inner.clock,
                });
            });
            tried.await.expect("work on the state does not panic");
        }
        true
    }

    /// Checks that the service may change its state.
    pub(super) fn check_writable(&self) -> Result<(), RequestError> {
        self.start.obstacle().map_or(Ok(()), |obstacle| Err(obstacle.into()))
    }
}

impl Service {
    /// Returns what a person should look at, in sentences: why the service can only be read, an unconfirmed step of the
    /// clock, and trouble with the archive.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let obstacle = self.inner.start.obstacle();
        let obstacle = obstacle.map(|obstacle| format!("the service can only be read: {obstacle}"));
        let step = self.inner.clock.unconfirmed().map(|step| step.to_string());
        let archive = self.inner.archive.as_ref().map(|archive| archive.warnings());
        obstacle.into_iter().chain(step).chain(archive.into_iter().flatten()).collect()
    }
}
