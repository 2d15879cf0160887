//! Proves shards of RISC-V programs.

use crate::sp1_types::{InnerVerifyingKey, Sp1CoreProver};
use sp1_core_executor::{ExecutionRecord, Program};
use sp1_core_machine::riscv::RiscvAir;
use sp1_hypercube::{
    Machine, ShardProof,
    prover::{AirProver, PcsProof, PreprocessedData, ProverPermit, ProverSemaphore, ProvingKey},
};
use sp1_primitives::{SP1Field, SP1GlobalContext};
use sp1_prover::CoreSC;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OnceCell;

type CoreProvingKey = ProvingKey<SP1GlobalContext, CoreSC, Sp1CoreProver>;
type CoreProverOutput = ShardProof<SP1GlobalContext, PcsProof<SP1GlobalContext, CoreSC>>;

/// Wraps SP1's core prover so that it commits to a program once. SP1 itself does that again for every shard.
///
/// SP1's setting `use_fixed_pk` serves the same purpose, but it keeps the first program's key for all programs. This
/// prover keeps the key of the last program: half a gigabyte plus 24 bytes for each cell of the preprocessed trace.
pub(super) struct KeyCachingCoreProver {
    sp1: Sp1CoreProver,
    last: Mutex<Option<CachedProvingKey>>,
}

/// The proving key of one program. The first shard of the program makes the key, and the other shards wait for it.
#[derive(Clone)]
struct CachedProvingKey {
    verifying_key: InnerVerifyingKey,
    proving_key: Arc<OnceCell<Option<Arc<CoreProvingKey>>>>,
}

impl KeyCachingCoreProver {
    pub(super) fn new(sp1: Sp1CoreProver) -> Self {
        Self { sp1, last: Mutex::default() }
    }

    /// Frees the key of the last program.
    pub(super) fn forget_key(&self) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn cached(&self, verifying_key: &InnerVerifyingKey) -> CachedProvingKey {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = last.as_ref().filter(|cached| cached.verifying_key == *verifying_key) {
            return cached.clone();
        }
        let cached = CachedProvingKey { verifying_key: verifying_key.clone(), proving_key: Arc::default() };
        *last = Some(cached.clone());
        cached
    }

    /// Returns the proving key of `program`, or `None` if `verifying_key` belongs to another program.
    async fn key(
        &self,
        program: Arc<Program>,
        verifying_key: &InnerVerifyingKey,
        permits: ProverSemaphore,
    ) -> Option<Arc<CoreProvingKey>> {
        let cached = self.cached(verifying_key);
        let make = || async {
            let (made, found) =
                AirProver::setup_from_vk(&self.sp1, program, Some(verifying_key.clone()), permits).await;
            let PreprocessedData { pk, permit } = made;
            let _ = permit.release();
            (found == *verifying_key).then_some(pk)
        };
        cached.proving_key.get_or_init(make).await.clone()
    }
}

impl AirProver<SP1GlobalContext, CoreSC> for KeyCachingCoreProver {
    type PreprocessedData = Arc<CoreProvingKey>;

    fn machine(&self) -> &Machine<SP1Field, RiscvAir<SP1Field>> {
        AirProver::machine(&self.sp1)
    }

    async fn setup_from_vk(
        &self,
        program: Arc<Program>,
        verifying_key: Option<InnerVerifyingKey>,
        permits: ProverSemaphore,
    ) -> (PreprocessedData<ProvingKey<SP1GlobalContext, CoreSC, Self>>, InnerVerifyingKey) {
        let (made, verifying_key) = AirProver::setup_from_vk(&self.sp1, program, verifying_key, permits).await;
        let pk = ProvingKey { vk: verifying_key.clone(), preprocessed_data: made.pk };
        (PreprocessedData { pk: Arc::new(pk), permit: made.permit }, verifying_key)
    }

    async fn setup_and_prove_shard(
        &self,
        program: Arc<Program>,
        record: ExecutionRecord,
        verifying_key: Option<InnerVerifyingKey>,
        permits: ProverSemaphore,
    ) -> (InnerVerifyingKey, CoreProverOutput, ProverPermit) {
        if let Some(verifying_key) = &verifying_key
            && let Some(key) = self.key(program.clone(), verifying_key, permits.clone()).await
        {
            let (proof, permit) = AirProver::prove_shard_with_pk(&self.sp1, key, record, permits).await;
            return (verifying_key.clone(), proof, permit);
        }
        AirProver::setup_and_prove_shard(&self.sp1, program, record, verifying_key, permits).await
    }

    async fn prove_shard_with_pk(
        &self,
        pk: Arc<ProvingKey<SP1GlobalContext, CoreSC, Self>>,
        record: ExecutionRecord,
        permits: ProverSemaphore,
    ) -> (CoreProverOutput, ProverPermit) {
        AirProver::prove_shard_with_pk(&self.sp1, pk.preprocessed_data.clone(), record, permits).await
    }

    async fn preprocessed_table_heights(
        pk: Arc<ProvingKey<SP1GlobalContext, CoreSC, Self>>,
    ) -> BTreeMap<String, usize> {
        <Sp1CoreProver as AirProver<_, CoreSC>>::preprocessed_table_heights(pk.preprocessed_data.clone()).await
    }
}
