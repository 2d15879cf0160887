//! Keeps the core provers of one place of the engine.

use super::{
    attempt_client::{AttemptClient, EngineAttempts, PlaceAttempt},
    loaded_engine::LoadedEngine,
};
use crate::{options::CutOptions, sp1_types::riscv_machine};
use sp1_prover::{SP1ProverComponents, worker::SP1CoreProver};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) type CoreShardProver<C> = SP1CoreProver<AttemptClient, AttemptClient, C>;

/// The core provers of one place, one for each set of cut options. A core prover is small compared to the recursion
/// prover that all of them share. It keeps the normalize programs that it has compiled.
pub(super) struct PlaceProvers<C: SP1ProverComponents> {
    pub(super) place: PlaceAttempt,
    provers: Mutex<Vec<(CutOptions, CoreShardProver<C>)>>,
}

/// Sets of cut options that a place keeps core provers for. A pool rarely serves more at the same time.
const MAX_CACHED_OPTIONS: usize = 4;

impl<C: SP1ProverComponents> PlaceProvers<C> {
    pub(super) fn new() -> Self {
        Self { place: PlaceAttempt::default(), provers: Mutex::default() }
    }

    pub(super) fn get(
        &self,
        options: &CutOptions,
        attempts: &Arc<EngineAttempts>,
        loaded: &LoadedEngine<C>,
    ) -> CoreShardProver<C> {
        let mut provers = self.provers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = provers.iter().position(|(known, _)| known == options) {
            // The vector is ordered by last use: the first entry is dropped next.
            let used = provers.remove(at);
            provers.push(used);
        } else {
            if provers.len() >= MAX_CACHED_OPTIONS {
                provers.remove(0);
            }
            let client = AttemptClient { attempts: attempts.clone(), place: self.place.clone() };
            let prover = SP1CoreProver::new(
                loaded.core_config.clone(),
                options.for_device(loaded.device),
                client.clone(),
                client,
                loaded.air_prover.clone(),
                loaded.permits.clone(),
                loaded.engine().recursion_prover.clone(),
                riscv_machine(),
            );
            provers.push((options.clone(), prover));
        }
        provers.last().expect("a prover was just added").1.clone()
    }
}
