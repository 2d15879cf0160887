//! Reads from the trace of a program which proofs it verifies.

use super::{difference::ProofIdentity, recent_words::RecentWords};
use sp1_core_executor::{
    CycleResult, ExecutionError, GasEstimatingVM, Opcode, Program, Register, SP1CoreOpts, SupervisorMode, SyscallCode,
    TraceChunkRaw,
};
use std::sync::Arc;

/// Number of proofs that are identified. Further ones are only counted.
const MAX_IDENTIFIED: usize = 1 << 16;

/// The proofs that a program verifies.
pub struct ProofCalls {
    recent: RecentWords,
    verified: Vec<Option<ProofIdentity>>,
    total: u64,
    digest: [u32; 8],
    cycles: u64,
}

impl ProofCalls {
    pub(super) fn new() -> Self {
        Self { recent: RecentWords::new(), verified: Vec::new(), total: 0, digest: [0; 8], cycles: 0 }
    }

    /// Number of proofs that the program verified.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The first proofs that the program verified, in order. `None` is a proof that could not be identified.
    #[must_use]
    pub fn verified(&self) -> &[Option<ProofIdentity>] {
        &self.verified
    }

    /// SP1's digest of all proofs that the program verified. The program itself computed it, and the proof of the
    /// program depends on it.
    #[must_use]
    pub fn digest(&self) -> [u32; 8] {
        self.digest
    }

    /// Number of cycles that were read.
    pub(super) fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Reads the next chunk of the trace of `program`, which runs only instructions from its file.
    pub(super) fn read(
        &mut self,
        chunk: &TraceChunkRaw,
        program: &Arc<Program>,
        options: &SP1CoreOpts,
    ) -> Result<(), ExecutionError> {
        // The nonce has no effect on the run.
        let mut vm = GasEstimatingVM::<SupervisorMode>::new(chunk, program.clone(), [0; 4], options.clone());
        loop {
            let instruction = vm.core.fetch();
            match instruction.opcode {
                Opcode::LB | Opcode::LBU | Opcode::LH | Opcode::LHU | Opcode::LW | Opcode::LWU | Opcode::LD => {
                    let loaded = vm.core.execute_load(&instruction)?;
                    self.recent.note(loaded.addr, loaded.mr_record.value);
                }
                Opcode::SB | Opcode::SH | Opcode::SW | Opcode::SD => {
                    let stored = vm.core.execute_store(&instruction)?;
                    self.recent.note(stored.addr, stored.mw_record.value);
                }
                Opcode::JAL | Opcode::JALR => {
                    vm.core.execute_jump(&instruction);
                }
                Opcode::BEQ | Opcode::BNE | Opcode::BLT | Opcode::BGE | Opcode::BLTU | Opcode::BGEU => {
                    vm.core.execute_branch(&instruction);
                }
                Opcode::LUI | Opcode::AUIPC => {
                    vm.core.execute_utype(&instruction);
                }
                Opcode::ECALL => {
                    let argument = |register: Register| vm.core.registers()[register as usize].value;
                    self.on_call(vm.core.read_code(), argument(Register::X10), argument(Register::X11));
                    vm.execute_ecall(&instruction)?;
                }
                // The executor ends a run at these instructions.
                Opcode::EBREAK | Opcode::UNIMP => return Err(ExecutionError::Unimplemented()),
                // All others compute.
                _ => {
                    vm.core.execute_alu(&instruction);
                }
            }
            self.cycles += 1;
            if vm.core.advance() != CycleResult::Done(false) {
                return Ok(());
            }
        }
    }

    fn on_call(&mut self, code: SyscallCode, first: u64, second: u64) {
        match code {
            SyscallCode::VERIFY_SP1_PROOF => {
                self.total += 1;
                if self.verified.len() < MAX_IDENTIFIED {
                    self.verified.push(self.identify(first, second));
                }
            }
            // At its end, the program passes the digest word by word.
            SyscallCode::COMMIT_DEFERRED_PROOFS => {
                if let Some(word) = usize::try_from(first).ok().and_then(|at| self.digest.get_mut(at)) {
                    *word = second as u32;
                }
            }
            _ => {}
        }
    }

    /// Identifies a proof by the addresses of its key's digest and of the digest of its public values.
    fn identify(&self, key: u64, values: u64) -> Option<ProofIdentity> {
        let words = self.recent.bytes(key)?;
        let mut key = [0; 8];
        for (word, bytes) in key.iter_mut().zip(words.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Some(ProofIdentity { key, values: self.recent.bytes(values)? })
    }
}
