//! A proof of a service that a program knows by its id.

use super::{error::DistributedError, prover::DistributedProver};
use futures::future::BoxFuture;
use sp1_sdk::{SP1ProofWithPublicValues, SP1ProvingKey};
use std::{fmt, time::Duration};

/// A proof that was requested from a service, by this process or by another one. The service makes the proof whether or
/// not any client waits for it. Dropping this value does not cancel the proof.
///
/// The service keeps the proof until it ends, also over restarts of the service. A proof without a timeout has no
/// deadline. The service keeps the result for the days that `sp1d serve --keep` sets (default: 7).
#[derive(Clone)]
pub struct RequestedProof {
    prover: DistributedProver,
    key: SP1ProvingKey,
    id: String,
}

impl fmt::Debug for RequestedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestedProof").field("id", &self.id).finish_non_exhaustive()
    }
}

impl DistributedProver {
    /// Returns the proof `id` of the service, which another process may have requested. `pk` is the proving key of its
    /// program. Does not connect to the service yet.
    #[must_use]
    pub fn requested_proof(&self, id: impl Into<String>, pk: &SP1ProvingKey) -> RequestedProof {
        RequestedProof { prover: self.clone(), key: pk.clone(), id: id.into() }
    }
}

impl RequestedProof {
    /// Returns the id of the proof at the service. Store it to find the proof again after a restart of this program.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until the proof is done, verifies it and returns it. Waits across lost connections and restarts of the
    /// service. With `timeout`, waits no longer than that; the proof continues, and a later call can wait again.
    ///
    /// # Errors
    /// If the service does not know the proof, if the proof is of another program, if the proof failed or was
    /// cancelled, if it does not verify, or if `timeout` passed.
    ///
    /// # Cancel safety
    /// Dropping the future only stops the waiting. The proof continues.
    pub fn wait(
        &self,
        timeout: Option<Duration>,
    ) -> BoxFuture<'static, Result<SP1ProofWithPublicValues, DistributedError>> {
        self.prover.wait_for_proof(self.id.clone(), self.key.clone(), timeout)
    }

    /// Cancels the proof, unless it has ended.
    ///
    /// # Errors
    /// If the service does not know the proof or does not respond.
    pub fn cancel(&self) -> BoxFuture<'static, Result<(), DistributedError>> {
        self.prover.cancel_proof(self.id.clone())
    }
}
