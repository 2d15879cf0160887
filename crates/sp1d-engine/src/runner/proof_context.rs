//! What the SP1 client and the execution of one proof share.

use super::{cut::shard_kind, request::decode_stdin};
use crate::{
    executor::{ProgramExecutor, program_failure},
    memory::choose_cut,
    options::CutOptions,
    program::ProgramShape,
};
use sp1_hypercube::SP1VerifyingKey;
use sp1_prover::verify::SP1Verifier;
use sp1d_orchestrator::{AttemptMemory, ExpectedExit, ProofFailure, ProofHandle, ProofMode, ShardWorker};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio_util::task::TaskTracker as BackgroundTasks;

/// What the SP1 client and the execution of one proof share: its facts, and what they need to work.
pub(super) struct ProofContext {
    pub(super) proof: ProofHandle,
    pub(super) program: bytes::Bytes,
    pub(super) stdin: bytes::Bytes,
    /// Number of values in the input.
    pub(super) input_values: u64,
    pub(super) key: SP1VerifyingKey,
    pub(super) options: CutOptions,
    pub(super) shape: ProgramShape,
    pub(super) mode: ProofMode,
    pub(super) cycle_limit: Option<u64>,
    pub(super) expected_exit: ExpectedExit,
    pub(super) executor: ProgramExecutor,
    pub(super) verifier: Arc<SP1Verifier>,
    pub(super) background: BackgroundTasks,
    /// Whether the program ended with an unexpected exit code. Several records contain the code; only the first one is
    /// reported.
    pub(super) program_failed: AtomicBool,
}

impl ProofContext {
    /// Returns a suffix for an error message that names a smaller cut, for a worker with `bytes` of memory for a shard.
    /// Empty without such a cut. The suffix is a `hint:` line only if the proof does not restart, because a
    /// restart puts the message inside another sentence.
    pub(super) fn smaller_cut_hint(&self, bytes: u64) -> String {
        let memory = AttemptMemory { each_bytes: bytes, alone_bytes: bytes };
        let (kind, options) = (shard_kind(self.mode), &self.options);
        let worker = ShardWorker::with_memory(Some(memory));
        let choice = choose_cut(kind, self.shape.instructions as u64, &[worker]);
        let Some(choice) = choice.filter(|choice| choice.threshold < options.threshold()) else {
            return String::new();
        };
        let setting = options.clone().chosen(choice.threshold).threshold_setting();
        if options.smaller().is_some() {
            format!("; {setting} may fit")
        } else {
            format!("\nhint: set `{setting}` or `ELEMENT_THRESHOLD=auto`")
        }
    }

    /// Returns true if a run that ends with `code` can become the requested proof.
    pub(super) fn accepts(&self, code: u32) -> bool {
        self.expected_exit.accepts(code) && (code == 0 || cfg!(feature = "experimental"))
    }

    /// Fails the proof of a program that ended with the unexpected exit `code`. Otherwise the run would be proven to
    /// the end and then not verify. The program runs once more to get its stderr for the error message.
    pub(super) fn fail_program(self: &Arc<Self>, code: u32) {
        if self.program_failed.swap(true, Ordering::Relaxed) {
            return;
        }
        let context = self.clone();
        self.background.spawn(async move {
            let stderr = match decode_stdin(&context.stdin) {
                Ok(stdin) => {
                    let stopped = context.proof.stopped();
                    let run = context.executor.run(&context.program, stdin, context.cycle_limit, false, stopped);
                    run.await.map(|run| run.stderr).unwrap_or_default()
                }
                Err(_) => String::new(),
            };
            context.proof.fail(match context.expected_exit {
                ExpectedExit::Code(expected) => ProofFailure::Program(format!(
                    "the program ended with exit code {code}, the request expects {expected}"
                )),
                ExpectedExit::Success | ExpectedExit::Any => program_failure(code, &stderr),
            });
        });
    }
}
