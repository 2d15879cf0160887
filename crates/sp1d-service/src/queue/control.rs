//! Cancels proofs, and drains, resumes and removes workers.

use super::{
    events::MAX_FLUSH,
    request::RequestError,
    service::{Service, lock},
};
use sp1d_model::{ProofState, ProofSummary};
use std::time::Duration;
use tokio::time::{sleep, timeout};

impl Service {
    /// Cancels a proof and returns its current record. A queued proof is cancelled at once. A running proof may still
    /// be running in the returned record, and ends shortly afterwards. A proof that has ended does not change.
    ///
    /// # Errors
    /// [`RequestError::Unknown`] if no proof has this id.
    pub async fn cancel(&self, id: &str) -> Result<ProofSummary, RequestError> {
        let owned = id.to_owned();
        if self.proof(id).await?.state == ProofState::Queued {
            self.inner.check_writable()?;
            // The last event, which the database stores with the new state, must come after all other events.
            if timeout(MAX_FLUSH, self.inner.flush_events()).await.is_err() {
                return Err(if self.inner.space.is_short() { RequestError::DiskFull } else { RequestError::Locked });
            }
        }
        let cancelled = self.blocking(move |inner| {
            inner.find(&owned)?;
            Ok::<_, RequestError>(inner.database.cancel_queued(&owned, inner.clock.now())?)
        });
        if let Some(proof) = cancelled.await? {
            self.inner.followers.notify([id]);
            lock(&self.inner.numbers).remove(id);
            return Ok(proof);
        }
        loop {
            let running = lock(&self.inner.running).get(id).cloned();
            let proof = self.proof(id).await?;
            match running {
                Some(running) => running.cancel.cancel(),
                // The queue is starting this proof and has not yet put it into `running`.
                None if !proof.state.is_final() && !self.inner.stop.is_cancelled() => {
                    self.inner.check_writable()?;
                    sleep(Duration::from_millis(10)).await;
                    continue;
                }
                None => {}
            }
            return Ok(proof);
        }
    }

    pub(crate) async fn drain(&self, worker: &str) -> Result<(), RequestError> {
        // Draining takes until the worker holds no attempt. The wait is short, so that an HTTP request does not last as
        // long. It is usually enough for the worker list to show the drain. It starts when the dispatcher has the
        // request: while the dispatcher is overloaded, the HTTP request takes longer.
        Ok(self.inner.orchestrator.drain_for(worker, Duration::from_millis(100)).await?)
    }

    pub(crate) async fn resume(&self, worker: &str) -> Result<(), RequestError> {
        Ok(self.inner.orchestrator.resume(worker).await?)
    }

    pub(crate) fn forget(&self, worker: &str) -> Result<(), RequestError> {
        Ok(self.inner.orchestrator.forget(worker)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::settings::ServiceSettings;
    use sp1d_model::{Moment, NewProof, ProgramSummary, ProofState};
    use sp1d_orchestrator::WorkerList;
    use sp1d_testing::{FakeEngine, FakeRunner, RunningWorker, fake_build};
    use std::{path::Path, sync::Arc};
    use tokio::sync::Notify;

    /// Starts a service that runs one proof at a time. Also returns a request of one shard.
    async fn start(folder: &Path) -> (Service, NewProof) {
        let orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        let mut settings = ServiceSettings::new(folder.join("state"), orchestrator, "{}".to_owned());
        settings.parallel_proofs = 1;
        // The disk of a test machine may be nearly full.
        settings.min_free_bytes = 0;
        let service = Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap();
        let program = service.inner.blobs.put(b"program").unwrap();
        let known = ProgramSummary { id: program.clone(), bytes: 7, verifying_key: None, created: Moment::now() };
        service.inner.database.add_program("default", &known).unwrap();
        (service, NewProof { program: Some(program), cycle_limit: Some(1), ..NewProof::default() })
    }

    #[tokio::test]
    async fn cancelled_queued_proof_leaves_no_event_counter() {
        let folder = tempfile::tempdir().unwrap();
        let (service, request) = start(folder.path()).await;
        // No worker is connected, so the first proof runs until the shutdown and the second one stays in the queue.
        let (first, _) = service.submit(request.clone()).await.unwrap();
        let started = async {
            while service.proof(&first.id).await.unwrap().state != ProofState::Running {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), started).await.unwrap();
        let (second, _) = service.submit(request).await.unwrap();
        assert_eq!(service.cancel(&second.id).await.unwrap().state, ProofState::Cancelled);
        let counted: Vec<String> = lock(&service.inner.numbers).keys().cloned().collect();
        assert_eq!(counted, [first.id]);
        service.shutdown().await;
    }

    #[tokio::test]
    async fn drain_requests_for_a_busy_worker_leave_no_task() {
        let folder = tempfile::tempdir().unwrap();
        let (service, request) = start(folder.path()).await;
        let started = Arc::new(Notify::new());
        let engine_started = started.clone();
        let engine = FakeEngine::doing(move |_, _| {
            engine_started.notify_one();
            std::future::pending()
        });
        let worker = RunningWorker::ready("one", engine).await;
        for (_, reached) in service.orchestrator().set_list(&WorkerList(vec![worker.address.into()])) {
            reached.await.unwrap().unwrap();
        }
        service.submit(request).await.unwrap();
        timeout(Duration::from_secs(20), started.notified()).await.unwrap();
        // The orchestrator learns that the attempt has started.
        sleep(Duration::from_millis(200)).await;
        let before = service.inner.tasks.len();
        for _ in 0..3 {
            service.drain("one").await.unwrap();
        }
        let workers = service.orchestrator().workers();
        assert_eq!((workers[0].draining, workers[0].holds), (true, 1));
        assert_eq!(service.inner.tasks.len(), before);
        service.shutdown().await;
    }
}
