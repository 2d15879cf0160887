//! Proof requests to the distributed prover.

use super::{error::DistributedError, events::ProofEvents, prover::DistributedProver};
use crate::{
    prover::ProveRequest,
    request::{ProveOptions, with_options},
};
use sp1_core_machine::io::SP1Stdin;
use sp1_sdk::{SP1ProofMode, SP1ProofWithPublicValues, SP1ProvingKey, StatusCode};
use sp1d_orchestrator::ProofEvent;
use std::{future::IntoFuture, pin::Pin};
use tokio::sync::broadcast;

/// A proof request. Awaiting it creates the proof. Dropping the future cancels the proof.
pub struct DistributedProveRequest<'a> {
    prover: &'a DistributedProver,
    key: &'a SP1ProvingKey,
    stdin: SP1Stdin,
    options: ProveOptions,
    progress: Option<broadcast::Sender<ProofEvent>>,
}

impl<'a> DistributedProveRequest<'a> {
    pub(super) fn new(prover: &'a DistributedProver, key: &'a SP1ProvingKey, stdin: SP1Stdin) -> Self {
        Self { prover, key, stdin, options: ProveOptions::default(), progress: None }
    }

    /// Returns the request and a stream of its events, such as shards found and proven, and workers that connect and
    /// disconnect. Through a service, the stream also tells when the service accepts, starts and ends the proof.
    #[must_use]
    pub fn with_events(mut self) -> (Self, ProofEvents) {
        let (sender, events) = ProofEvents::channel();
        self.progress = Some(sender);
        (self, events)
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
        self.prover.run_proof(self.key, self.stdin, self.options, progress)
    }
}
