//! A proof to which the bench submits tasks.

use super::checks::LoadChecks;
use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use bytes::Bytes;
use sp1d_orchestrator::{
    Orchestrator, ProofEvent, ProofFailure, ProofHandle, ProofOutput, ProofRequest, ProofRunner, Proven,
};
use std::sync::Arc;
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Events that the recorder may be late. At 20,000 tasks a second, this is a second.
const EVENTS: usize = 1 << 17;

/// Passes the handle of its proof to the bench, and ends when the bench closes the proof.
struct OpenRunner {
    checks: LoadChecks,
    handles: mpsc::UnboundedSender<ProofHandle>,
    closing: CancellationToken,
}

#[async_trait]
impl ProofRunner for OpenRunner {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        proof.set_checks(self.checks.clone());
        let stopped = proof.stopped().clone();
        // Without a receiver, the bench has failed and ends the proof.
        let _ = self.handles.send(proof);
        tokio::select! {
            () = self.closing.cancelled() => Ok(ProofOutput { proof: Vec::new(), cycles: 0, public_values: Vec::new(), gas: None }),
            () = stopped.cancelled() => Err(ProofFailure::Cancelled),
        }
    }
}

/// A running proof without tasks of its own. Dropping it cancels the proof.
pub(crate) struct OpenProof {
    pub(crate) handle: ProofHandle,
    closing: CancellationToken,
    cancel: CancellationToken,
    running: JoinHandle<Result<Proven, ProofFailure>>,
}

impl OpenProof {
    /// Starts a proof. Also returns the receiver of its events.
    ///
    /// # Errors
    /// Fails if the proof ends at once.
    pub(crate) async fn open(
        orchestrator: &Arc<Orchestrator>,
        checks: LoadChecks,
    ) -> Result<(Self, broadcast::Receiver<ProofEvent>)> {
        let (handles, mut opened) = mpsc::unbounded_channel();
        let (closing, cancel) = (CancellationToken::new(), CancellationToken::new());
        let (progress, events) = broadcast::channel(EVENTS);
        let runner = Arc::new(OpenRunner { checks, handles, closing: closing.clone() });
        let (orchestrator, cancelled) = (orchestrator.clone(), cancel.clone());
        let request = ProofRequest::core(Bytes::from_static(b"program"), Bytes::new(), "{}".to_owned());
        let running = tokio::spawn(async move { orchestrator.prove(request, runner, progress, cancelled).await });
        let handle = opened.recv().await.context("the proof ended before it was open")?;
        Ok((Self { handle, closing, cancel, running }, events))
    }

    /// Ends the proof. Its events end too.
    ///
    /// # Errors
    /// Fails if the proof has failed.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.closing.cancel();
        let ended = (&mut self.running).await.context("the proof panicked")?;
        ended.map(|_| ()).map_err(|failure| anyhow!("the proof failed: {failure}"))
    }
}

impl Drop for OpenProof {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
