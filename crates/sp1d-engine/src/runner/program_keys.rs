//! Sets up programs, and caches their verifying keys.

use super::{
    key_folder::{KeyFolder, KnownProgram},
    request::decode_owned_elf,
    setup_place::SetupPlace,
};
use crate::{
    program::ProgramShape,
    sp1_types::{Sp1CoreProver, riscv_machine},
};
use sp1_hypercube::{
    SP1VerifyingKey,
    prover::{AirProver, CpuShardProver, ProverSemaphore},
};
use sp1_prover::{CpuSP1ProverComponents, SP1ProverComponents};
use sp1d_artifacts::Digest;
use sp1d_orchestrator::ProofFailure;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OnceCell;

sp1d_model::limits! {
    /// Number of programs whose verifying key stays in memory.
    const MAX_KNOWN_PROGRAMS: usize = 64; Count by Client;
}

/// The verifying keys of programs. A key comes from memory or from disk, or is computed.
pub(super) struct ProgramKeys {
    known: Mutex<VecDeque<(Digest, Arc<OnceCell<KnownProgram>>)>>,
    folder: KeyFolder,
    place: SetupPlace,
    setup_prover: Arc<Sp1CoreProver>,
    release_memory: fn(),
}

impl ProgramKeys {
    /// `release_memory` returns freed memory to the operating system. It is called after each setup of a program.
    pub(super) fn new(folder: KeyFolder, release_memory: fn()) -> Self {
        let core_verifier = CpuSP1ProverComponents::core_verifier(riscv_machine());
        let setup_prover = Arc::new(CpuShardProver::new(core_verifier.shard_verifier().clone()));
        Self { known: Mutex::default(), folder, place: SetupPlace::new(), setup_prover, release_memory }
    }

    fn cell(&self, digest: Digest) -> Arc<OnceCell<KnownProgram>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = known.iter().find(|(program, _)| *program == digest) {
            return cell.clone();
        }
        if known.len() >= MAX_KNOWN_PROGRAMS {
            known.pop_front();
        }
        let cell = Arc::new(OnceCell::new());
        known.push_back((digest, cell.clone()));
        cell
    }

    /// Returns key and shape of `program` from memory or from disk, or computes them.
    pub(super) async fn get(&self, program: &[u8]) -> Result<KnownProgram, ProofFailure> {
        let digest = Digest::of(program);
        let cell = self.cell(digest);
        let compute = || async {
            let folder = self.folder.clone();
            let found = tokio::task::spawn_blocking(move || folder.load(digest)).await;
            if let Ok(Some(known)) = found {
                return Ok(known);
            }
            self.set_up(digest, program).await
        };
        cell.get_or_try_init(compute).await.cloned()
    }

    /// Sets up `program`, which has this digest. The setup continues if the caller leaves.
    async fn set_up(&self, digest: Digest, program: &[u8]) -> Result<KnownProgram, ProofFailure> {
        let start = || {
            let setup = Setup {
                digest,
                program: program.into(),
                prover: self.setup_prover.clone(),
                folder: self.folder.clone(),
                release_memory: self.release_memory,
            };
            setup.run()
        };
        self.place.run(start).await
    }

    /// Checks that `elf` is a valid program for SP1.
    pub(super) async fn check(&self, elf: &[u8]) -> Result<(), ProofFailure> {
        // Decoding takes several times the program's size in memory, so it also takes the place.
        self.place.run(|| check_owned(elf.into())).await
    }
}

async fn check_owned(elf: Arc<[u8]>) -> Result<(), ProofFailure> {
    decode_owned_elf(elf).await.map(drop)
}

/// The setup of one program.
struct Setup {
    digest: Digest,
    program: Arc<[u8]>,
    prover: Arc<Sp1CoreProver>,
    folder: KeyFolder,
    release_memory: fn(),
}

impl Setup {
    /// Computes the key, and stores it on disk.
    async fn run(self) -> Result<KnownProgram, ProofFailure> {
        let Self { digest, program, prover, folder, release_memory } = self;
        let known = compute_key(program, prover).await;
        let _ = tokio::task::spawn_blocking(release_memory).await;
        let known = known?;
        let kept = known.clone();
        // A failure to store the key is ignored: the key is known.
        let _ = tokio::task::spawn_blocking(move || folder.store(digest, &kept)).await;
        Ok(known)
    }
}

/// Decodes `program` and computes its key.
async fn compute_key(program: Arc<[u8]>, prover: Arc<Sp1CoreProver>) -> Result<KnownProgram, ProofFailure> {
    let program = Arc::new(decode_owned_elf(program).await?);
    let shape = ProgramShape::of(&program);
    let setup = async move { AirProver::setup(&*prover, program, ProverSemaphore::new(1)).await.1 };
    let failed = |_| {
        ProofFailure::Request("cannot set up the program: SP1 panicked while it computed the verifying key".to_owned())
    };
    let key = tokio::spawn(setup).await.map_err(failed)?;
    Ok(KnownProgram { key: SP1VerifyingKey { vk: key }, shape })
}
