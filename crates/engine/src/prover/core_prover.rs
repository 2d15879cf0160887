//! Proves shards of RISC-V programs.

use super::components::Sp1CoreProver;
use sp1_core_executor::{ExecutionRecord, Program};
use sp1_core_machine::riscv::RiscvAir;
use sp1_hypercube::{
    Machine, MachineVerifyingKey, ShardProof,
    prover::{AirProver, PcsProof, PreprocessedData, ProverPermit, ProverSemaphore, ProvingKey},
};
use sp1_primitives::{SP1Field, SP1GlobalContext};
use sp1_prover::CoreSC;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OnceCell;

type Key = MachineVerifyingKey<SP1GlobalContext>;
type Sp1Key = ProvingKey<SP1GlobalContext, CoreSC, Sp1CoreProver>;
type Proof = ShardProof<SP1GlobalContext, PcsProof<SP1GlobalContext, CoreSC>>;

/// Wraps SP1's core prover so that it commits to a program once. SP1 itself does that again for every shard.
///
/// SP1's setting `use_fixed_pk` serves the same purpose, but it keeps the first program's key for all programs. This
/// prover keeps the key of the last program: half a gigabyte plus 24 bytes for each cell of the preprocessed trace.
pub(crate) struct CoreProver {
    sp1: Sp1CoreProver,
    last: Mutex<Option<Kept>>,
}

/// The proving key of one program. The first shard of the program makes the key, and the other shards wait for it.
#[derive(Clone)]
struct Kept {
    verifying_key: Key,
    proving_key: Arc<OnceCell<Option<Arc<Sp1Key>>>>,
}

impl CoreProver {
    pub(crate) fn new(sp1: Sp1CoreProver) -> Self {
        Self { sp1, last: Mutex::default() }
    }

    /// Frees the key of the last program.
    pub(crate) fn forget_key(&self) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn kept(&self, verifying_key: &Key) -> Kept {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = last.as_ref().filter(|kept| kept.verifying_key == *verifying_key) {
            return kept.clone();
        }
        let kept = Kept { verifying_key: verifying_key.clone(), proving_key: Arc::default() };
        *last = Some(kept.clone());
        kept
    }

    /// Returns the proving key of `program`, or `None` if `verifying_key` belongs to another program.
    async fn key(&self, program: Arc<Program>, verifying_key: &Key, permits: ProverSemaphore) -> Option<Arc<Sp1Key>> {
        let kept = self.kept(verifying_key);
        let make = || async {
            let (made, found) =
                AirProver::setup_from_vk(&self.sp1, program, Some(verifying_key.clone()), permits).await;
            let PreprocessedData { pk, permit } = made;
            let _ = permit.release();
            (found == *verifying_key).then_some(pk)
        };
        kept.proving_key.get_or_init(make).await.clone()
    }
}

impl AirProver<SP1GlobalContext, CoreSC> for CoreProver {
    type PreprocessedData = Arc<Sp1Key>;

    fn machine(&self) -> &Machine<SP1Field, RiscvAir<SP1Field>> {
        AirProver::machine(&self.sp1)
    }

    async fn setup_from_vk(
        &self,
        program: Arc<Program>,
        verifying_key: Option<Key>,
        permits: ProverSemaphore,
    ) -> (PreprocessedData<ProvingKey<SP1GlobalContext, CoreSC, Self>>, Key) {
        let (made, verifying_key) = AirProver::setup_from_vk(&self.sp1, program, verifying_key, permits).await;
        let pk = ProvingKey { vk: verifying_key.clone(), preprocessed_data: made.pk };
        (PreprocessedData { pk: Arc::new(pk), permit: made.permit }, verifying_key)
    }

    async fn setup_and_prove_shard(
        &self,
        program: Arc<Program>,
        record: ExecutionRecord,
        verifying_key: Option<Key>,
        permits: ProverSemaphore,
    ) -> (Key, Proof, ProverPermit) {
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
    ) -> (Proof, ProverPermit) {
        AirProver::prove_shard_with_pk(&self.sp1, pk.preprocessed_data.clone(), record, permits).await
    }

    async fn preprocessed_table_heights(
        pk: Arc<ProvingKey<SP1GlobalContext, CoreSC, Self>>,
    ) -> BTreeMap<String, usize> {
        <Sp1CoreProver as AirProver<_, CoreSC>>::preprocessed_table_heights(pk.preprocessed_data.clone()).await
    }
}
