//! Whether all background tasks of the service are alive.

use super::{
    background_tasks::BackgroundTaskGuard,
    service::{Service, ServiceInner},
};

/// Name of the orchestrator's background task.
const DISPATCHER: &str = "the dispatcher";

impl ServiceInner {
    /// Watches the background task `name`. The task must hold the returned value until it ends.
    pub(super) fn watch_background_task(&self, name: &'static str) -> BackgroundTaskGuard {
        self.dead.watch(name)
    }

    /// Returns true if a background task has panicked. Nothing new may start then, and the failure of a proof may not
    /// be its own.
    pub(super) fn has_dead_background_task(&self) -> bool {
        self.orchestrator.broken().is_cancelled() || self.dead.died().is_cancelled()
    }
}

impl Service {
    /// Watches the background task `name`. The task must hold the returned value until it ends.
    pub(crate) fn watch_background_task(&self, name: &'static str) -> BackgroundTaskGuard {
        self.inner.watch_background_task(name)
    }

    /// Returns the background tasks that have panicked, in words.
    pub(crate) fn dead_background_tasks(&self) -> Vec<&'static str> {
        let dispatcher = self.inner.orchestrator.broken().is_cancelled().then_some(DISPATCHER);
        dispatcher.into_iter().chain(self.inner.dead.names()).collect()
    }

    /// Resolves when a background task of the service has panicked, and returns which. The service then starts no proof
    /// any more. End the process with a failure: the running proofs return to the queue at the shutdown, and the next
    /// start continues them.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn died(&self) -> String {
        tokio::select! {
            () = self.inner.orchestrator.broken().cancelled() => {}
            () = self.inner.dead.died().cancelled() => {}
        }
        self.dead_background_tasks().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::settings::ServiceSettings;
    use sp1d_model::{Moment, NewProof, ProgramSummary, ProofState};
    use sp1d_testing::{DispatcherPanic, FakeRunner, fake_build};
    use std::{path::Path, sync::Arc, time::Duration};
    use tokio::time::{sleep, timeout};

    async fn start(state: &Path) -> Service {
        let orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        let mut settings = ServiceSettings::new(state.to_owned(), orchestrator, "{}".to_owned());
        settings.parallel_proofs = 1;
        Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap()
    }

    #[tokio::test]
    async fn panic_of_the_dispatcher_leaves_every_proof_in_the_queue() {
        let folder = tempfile::tempdir().unwrap();
        let defect = DispatcherPanic::default();
        let _logs = tracing::subscriber::set_default(defect.clone());
        let service = start(&folder.path().join("state")).await;
        let program = service.inner.blobs.put(b"program").unwrap();
        let known = ProgramSummary { id: program.clone(), bytes: 7, verifying_key: None, created: Moment::now() };
        service.inner.database.add_program("default", &known).unwrap();
        let request = NewProof { program: Some(program), cycle_limit: Some(1), ..NewProof::default() };
        assert_eq!(service.dead_background_tasks(), Vec::<&str>::new());
        // The dispatcher panics when the first of these proofs starts.
        defect.arm();
        for _ in 0..3 {
            service.submit(request.clone()).await.unwrap();
        }
        let died = timeout(Duration::from_secs(20), service.died()).await.unwrap();
        assert_eq!((died.as_str(), service.dead_background_tasks()), (DISPATCHER, vec![DISPATCHER]));
        let all_queued = async {
            while service.counts().await.unwrap()["queued"] != 3 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), all_queued).await.unwrap();
        timeout(Duration::from_secs(20), service.shutdown()).await.unwrap();
        drop(service);

        // The next process continues. No worker is connected, so the first proof stays in the state `running`.
        let service = start(&folder.path().join("state")).await;
        let running = async {
            while service.counts().await.unwrap()["running"] != 1 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), running).await.unwrap();
        let counts = service.counts().await.unwrap();
        assert_eq!(ProofState::ALL.map(|state| counts[state.name()]).iter().sum::<u64>(), 3);
        assert_eq!(counts["queued"], 2);
        service.shutdown().await;
    }

    #[tokio::test]
    async fn panic_of_a_watched_task_is_a_death_and_its_end_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let service = start(&folder.path().join("state")).await;
        let task = service.watch_background_task("a task that ends");
        tokio::spawn(async move { drop(task) }).await.unwrap();
        assert!(service.dead_background_tasks().is_empty() && !service.inner.has_dead_background_task());
        let task = service.watch_background_task("a task that panics");
        let panicked = tokio::spawn(async move {
            let _task = task;
            panic!("a test lets a task panic");
        });
        assert!(panicked.await.is_err());
        assert_eq!(timeout(Duration::from_secs(20), service.died()).await.unwrap(), "a task that panics");
        service.shutdown().await;
    }
}
