//! Knows the proofs that are running, and what is expected of their parts.

use super::expectations::Expectations;
use sp1d_orchestrator::ProofHandle;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The proofs that are running, each with what is expected of its parts. There are few of them.
#[derive(Clone, Default)]
pub(crate) struct ExpectationRegistry(Arc<Mutex<Vec<RegisteredExpectations>>>);

type RegisteredExpectations = (ProofHandle, Arc<Expectations>);

impl ExpectationRegistry {
    fn lock(&self) -> MutexGuard<'_, Vec<RegisteredExpectations>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers `proof` until the returned value is dropped. Results of the proof can be checked as soon as
    /// [`ExpectationGuard::expect`] was called.
    pub(crate) fn register(&self, proof: &ProofHandle) -> ExpectationGuard {
        ExpectationGuard { registry: self.clone(), proof: proof.clone() }
    }

    /// Returns what is expected of the parts of `proof`.
    ///
    /// # Errors
    /// Fails if the proof has ended, or if its expectations are not known yet.
    pub(crate) fn expectations(&self, proof: &ProofHandle) -> Result<Arc<Expectations>, String> {
        let running = self.lock();
        let found = running.iter().find(|(known, _)| known.is_same(proof));
        found.map(|(_, expected)| expected.clone()).ok_or_else(|| "its proof has already ended".to_owned())
    }
}

/// Registers a proof as running. Dropping it removes the proof.
pub(crate) struct ExpectationGuard {
    registry: ExpectationRegistry,
    proof: ProofHandle,
}

impl ExpectationGuard {
    /// Sets what is expected of the parts of the proof.
    pub(crate) fn expect(&self, expected: Arc<Expectations>) {
        self.registry.lock().push((self.proof.clone(), expected));
    }
}

impl Drop for ExpectationGuard {
    fn drop(&mut self) {
        self.registry.lock().retain(|(known, _)| !known.is_same(&self.proof));
    }
}
