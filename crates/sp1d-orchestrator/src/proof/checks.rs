//! The checks of a controller, as a running proof uses them.

use super::{
    handle::ProofHandle,
    running::{ProofChecks, RunningProof},
};
use crate::{
    controller::{
        interface::{DeliveredMarker, DeliveredResult, ProofController},
        task::TaskSpec,
    },
    registry::Registry,
};
use sp1d_artifacts::{Blob, Digest};
use std::sync::{Arc, Weak};

/// The checks of `controller`.
pub(super) struct ControllerChecks {
    pub(super) controller: Arc<dyn ProofController>,
    /// Weak, because the registry holds the proof that holds this value.
    pub(super) registry: Weak<Registry>,
}

impl ControllerChecks {
    fn handle(&self, proof: &Arc<RunningProof>) -> Option<ProofHandle> {
        Some(ProofHandle { state: proof.clone(), registry: self.registry.upgrade()? })
    }
}

impl ProofChecks for ControllerChecks {
    fn check(&self, proof: &Arc<RunningProof>, spec: &TaskSpec, output: Vec<u8>) -> Result<(), String> {
        let proof = self.handle(proof).ok_or("the orchestrator has stopped")?;
        self.controller.check(DeliveredResult { proof: &proof, spec, output })
    }

    fn check_marker(
        &self,
        proof: &Arc<RunningProof>,
        spec: &TaskSpec,
        delivered: &dyn Fn(&str) -> Option<Blob>,
    ) -> Result<(), String> {
        let proof = self.handle(proof).ok_or("the orchestrator has stopped")?;
        self.controller.check_marker(DeliveredMarker { proof: &proof, spec, delivered })
    }

    fn result_key(&self, proof: &Arc<RunningProof>, spec: &TaskSpec) -> Option<Digest> {
        self.controller.result_key(&self.handle(proof)?, spec)
    }
}
