//! Proves recursion programs: normalize, reduce, deferred and shrink.

use super::recursion_keys;
use crate::sp1_types::{InnerVerifyingKey, Sp1RecursionProver};
use sp1_hypercube::{
    Machine, ShardProof,
    air::MachineProgram,
    prover::{
        AirProver, CpuShardProver, PcsProof, PreprocessedData, PreprocessedTraceData, ProverPermit, ProverSemaphore,
        ProvingKey, TraceGenerator,
    },
};
use sp1_primitives::{SP1Field, SP1GlobalContext};
use sp1_prover::{CompressAir, CpuSP1ProverComponents, RecursionSC, SP1ProverComponents};
use sp1_recursion_executor::{ExecutionRecord, RecursionProgram};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::OnceCell;

type RecursionProvingKey = ProvingKey<SP1GlobalContext, RecursionSC, Sp1RecursionProver>;
type RecursionProverOutput = ShardProof<SP1GlobalContext, PcsProof<SP1GlobalContext, RecursionSC>>;
type LateProvingKey = ProvingKey<SP1GlobalContext, RecursionSC, LateKeyRecursionProver>;
type RecursionProgramArc = Arc<RecursionProgram<SP1Field>>;

/// Wraps SP1's recursion prover so that a proving key is made only when a proof needs it.
///
/// SP1's engine makes the keys of six programs while it starts, and keeps five of them, 1.1 GB each. At the start it
/// needs only their verifying keys. For the programs of this version of SP1 these are known (see [`recursion_keys`]).
/// The verifying key of an unknown program is computed at the start.
pub(super) struct LateKeyRecursionProver {
    sp1: Sp1RecursionProver,
    /// Proving keys in use or in the cache, the most recently used one last.
    recent: Mutex<Vec<Arc<KeyCell>>>,
}

/// Proving keys that stay in memory: the key of the usual reduce program and one more.
const MAX_PROVING_KEYS: usize = 2;

/// A recursion program and its proving key. The key is made when a proof first needs it. It is dropped when
/// [`MAX_PROVING_KEYS`] other keys were used since.
pub(super) struct LateKey {
    program: RecursionProgramArc,
    cell: Mutex<Weak<KeyCell>>,
}

#[derive(Default)]
struct KeyCell(OnceCell<Arc<RecursionProvingKey>>);

impl LateKeyRecursionProver {
    /// Creates the prover of normalize, reduce and deferred programs.
    pub(super) fn for_compress() -> Self {
        Self::new(CpuShardProver::new(CpuSP1ProverComponents::compress_verifier().shard_verifier().clone()))
    }

    /// Creates the prover of the shrink program.
    pub(super) fn for_shrink() -> Self {
        Self::new(CpuShardProver::new(CpuSP1ProverComponents::shrink_verifier().shard_verifier().clone()))
    }

    fn new(sp1: Sp1RecursionProver) -> Self {
        Self { sp1, recent: Mutex::default() }
    }

    /// Frees all proving keys. A proof that is running keeps its own key until it ends.
    pub(super) fn forget_keys(&self) {
        self.recent().clear();
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Vec<Arc<KeyCell>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the proving key of `late`, and makes it if needed. `verifying_key` is the expected verifying key.
    ///
    /// # Panics
    /// Panics if the program has another verifying key. The table of known keys is wrong then, and no proof made with
    /// it would verify.
    async fn key(&self, late: &LateKey, verifying_key: &InnerVerifyingKey) -> Arc<RecursionProvingKey> {
        let cell = {
            let mut last = late.cell.lock().unwrap_or_else(PoisonError::into_inner);
            let mut recent = self.recent();
            let cell = last.upgrade().unwrap_or_default();
            recent.retain(|kept| !Arc::ptr_eq(kept, &cell));
            if recent.len() >= MAX_PROVING_KEYS {
                recent.remove(0);
            }
            recent.push(cell.clone());
            *last = Arc::downgrade(&cell);
            cell
        };
        let make = || async {
            // Use a separate permit, as SP1 does while it starts: the proof takes its own permit later.
            let permits = ProverSemaphore::new(1);
            let (made, found) = AirProver::setup(&self.sp1, late.program.clone(), permits).await;
            assert!(
                found == *verifying_key,
                "the verifying key of a recursion program differs from the table of known keys"
            );
            made.pk
        };
        cell.0.get_or_init(make).await.clone()
    }
}

impl AirProver<SP1GlobalContext, RecursionSC> for LateKeyRecursionProver {
    type PreprocessedData = LateKey;

    fn machine(&self) -> &Machine<SP1Field, CompressAir<SP1Field>> {
        AirProver::machine(&self.sp1)
    }

    async fn setup_from_vk(
        &self,
        program: RecursionProgramArc,
        verifying_key: Option<InnerVerifyingKey>,
        permits: ProverSemaphore,
    ) -> (PreprocessedData<LateProvingKey>, InnerVerifyingKey) {
        let late = LateKey { program: program.clone(), cell: Mutex::default() };
        if let Some(preprocessed_commit) = recursion_keys::find(program.clone()).await {
            let permit = permits.acquire().await.expect("SP1 never closes the semaphore");
            let verifying_key = InnerVerifyingKey {
                pc_start: program.pc_start(),
                initial_global_cumulative_sum: program.initial_global_cumulative_sum(),
                preprocessed_commit,
                untrusted_config: program.untrusted_config(),
            };
            let pk = ProvingKey { vk: verifying_key.clone(), preprocessed_data: late };
            return (PreprocessedData { pk: Arc::new(pk), permit }, verifying_key);
        }
        let (made, verifying_key) = AirProver::setup_from_vk(&self.sp1, program, verifying_key, permits).await;
        recursion_keys::log_unknown(&late.program, &verifying_key.preprocessed_commit);
        let pk = ProvingKey { vk: verifying_key.clone(), preprocessed_data: late };
        (PreprocessedData { pk: Arc::new(pk), permit: made.permit }, verifying_key)
    }

    async fn setup_and_prove_shard(
        &self,
        program: RecursionProgramArc,
        record: ExecutionRecord<SP1Field>,
        verifying_key: Option<InnerVerifyingKey>,
        permits: ProverSemaphore,
    ) -> (InnerVerifyingKey, RecursionProverOutput, ProverPermit) {
        AirProver::setup_and_prove_shard(&self.sp1, program, record, verifying_key, permits).await
    }

    async fn prove_shard_with_pk(
        &self,
        pk: Arc<LateProvingKey>,
        record: ExecutionRecord<SP1Field>,
        permits: ProverSemaphore,
    ) -> (RecursionProverOutput, ProverPermit) {
        let key = self.key(&pk.preprocessed_data, &pk.vk).await;
        AirProver::prove_shard_with_pk(&self.sp1, key, record, permits).await
    }

    /// Generates only the traces, which determine the heights. The commitment is not needed.
    async fn preprocessed_table_heights(pk: Arc<LateProvingKey>) -> BTreeMap<String, usize> {
        let prover = Self::for_shrink();
        let program = pk.preprocessed_data.program.clone();
        let (height, permits) = (prover.sp1.max_log_row_count(), ProverSemaphore::new(1));
        let generator = prover.sp1.trace_generator();
        let made = generator.generate_preprocessed_traces(program, height, permits).await;
        let PreprocessedTraceData { preprocessed_traces, .. } = made;
        preprocessed_traces.iter().map(|(name, trace)| (name.to_owned(), trace.num_real_entries())).collect()
    }
}
