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
                // The dispatcher is starting this proof and has not yet put it into `running`.
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
        let (inner, worker) = (self.inner.clone(), worker.to_owned());
        // Draining takes until the worker holds no attempt, and its state shows that. Waiting 100 ms is enough to
        // return an error for an unknown worker.
        let mut asked = self.inner.tasks.spawn(async move { inner.orchestrator.drain(&worker).await });
        match timeout(Duration::from_millis(100), &mut asked).await {
            Ok(drained) => Ok(drained.expect("draining does not panic")?),
            Err(_) => Ok(()),
        }
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
    use sp1d_testing::{FakeRunner, fake_build};
    use std::sync::Arc;

    #[tokio::test]
    async fn cancelled_queued_proof_leaves_no_event_counter() {
        let folder = tempfile::tempdir().unwrap();
        let orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        let mut settings = ServiceSettings::new(folder.path().join("state"), orchestrator, "{}".to_owned());
        settings.parallel_proofs = 1;
        let service = Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap();
        let program = service.inner.blobs.put(b"program").unwrap();
        let known = ProgramSummary { id: program.clone(), bytes: 7, verifying_key: None, created: Moment::now() };
        service.inner.database.add_program("default", &known).unwrap();
        // No worker is connected, so the first proof runs until the shutdown and the second one stays in the queue.
        let request = NewProof { program: Some(program), cycle_limit: Some(1), ..NewProof::default() };
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
}
