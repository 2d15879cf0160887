//! Proof requests to the distributed prover.

use super::{error::DistributedError, events::ProofEvents, prover::DistributedProver, requested_proof::RequestedProof};
use crate::{
    prover::ProveRequest,
    request::{ProveOptions, with_options},
};
use futures::future::BoxFuture;
use sp1_core_machine::io::SP1Stdin;
use sp1_sdk::{SP1ProofMode, SP1ProofWithPublicValues, SP1ProvingKey, StatusCode};
use sp1d_orchestrator::ProofEvent;
use std::{future::IntoFuture, pin::Pin};
use tokio::sync::broadcast;

/// A proof request. Awaiting it creates the proof. Dropping the future cancels the proof, unless the request has an
/// idempotency key and a service makes the proof.
pub struct DistributedProveRequest<'a> {
    prover: &'a DistributedProver,
    key: &'a SP1ProvingKey,
    stdin: SP1Stdin,
    options: ProveOptions,
    idempotency_key: Option<String>,
    progress: Option<broadcast::Sender<ProofEvent>>,
}

impl<'a> DistributedProveRequest<'a> {
    pub(super) fn new(prover: &'a DistributedProver, key: &'a SP1ProvingKey, stdin: SP1Stdin) -> Self {
        Self { prover, key, stdin, options: ProveOptions::default(), idempotency_key: None, progress: None }
    }

    /// Returns the request and a stream of its events, such as shards found and proven, and workers that connect and
    /// disconnect. Through a service, the stream also tells when the service accepts, starts and ends the proof.
    #[must_use]
    pub fn with_events(mut self) -> (Self, ProofEvents) {
        let (sender, events) = ProofEvents::channel();
        self.progress = Some(sender);
        (self, events)
    }

    /// Sets a text that identifies this request at a service: 1 to 200 bytes. If the service already has a request with
    /// this text, and program, input and all options are the same, this request joins that proof instead of starting
    /// another. If they differ, the request fails and the error names the differences. A program that restarts
    /// therefore finds its proof again.
    ///
    /// With a text, dropping the future does not cancel the proof, because another client may wait for it. A failed or
    /// cancelled proof keeps its text: choose another text to try again. Has no effect on a program's own workers.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Sets the gas that the program may use, as in sp1-sdk's requests to a prover network. Default: no limit. With a
    /// limit, the program is executed once more to count its gas, before proving starts. The proof fails if the program
    /// needs more. `execute` returns the gas of a run in its report.
    #[must_use]
    pub fn gas_limit(mut self, gas_limit: u64) -> Self {
        self.options.gas_limit = Some(gas_limit);
        self
    }

    /// Requests the proof from a service and returns without waiting for it. The returned value has the id of the
    /// proof, with which this or another process can wait for it. Events of `with_events` are not sent.
    ///
    /// # Errors
    /// If the program proves on its own workers, if the service does not respond, or if it refuses the request.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the proof, unless the request has an idempotency key.
    pub fn request(self) -> BoxFuture<'a, Result<RequestedProof, DistributedError>> {
        Box::pin(async move {
            let id = self.prover.request_proof(self.key, self.stdin, self.options, self.idempotency_key).await?;
            Ok(self.prover.requested_proof(id, self.key))
        })
    }
}

impl<'a> ProveRequest<'a, DistributedProver> for DistributedProveRequest<'a> {
    with_options!();
}

impl<'a> IntoFuture for DistributedProveRequest<'a> {
    type Output = Result<SP1ProofWithPublicValues, DistributedError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let progress = self.progress.unwrap_or_else(|| broadcast::channel(1).0);
        self.prover.run_proof(self.key, self.stdin, self.options, self.idempotency_key, progress)
    }
}
