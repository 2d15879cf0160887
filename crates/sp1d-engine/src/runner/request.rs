//! Decodes and checks the content of a proof request.

use crate::{file_decoding::decode_file, program::decode_program};
use sp1_core_executor::{Program, StatusCode};
use sp1_core_machine::io::SP1Stdin;
use sp1d_model::TaskKind;
use sp1d_orchestrator::{ExpectedExit, ProofFailure, ProofMode};
use std::sync::Arc;

/// Returns the task kinds that workers must support for a proof of `mode`, of an input with or without proofs.
pub(super) fn needed_kinds(mode: ProofMode, has_input_proofs: bool) -> Vec<TaskKind> {
    use TaskKind::{Groth16Wrap, NormalizeShard, PlonkWrap, ProveShard, RecursionReduce, ShrinkWrap};
    let kinds = match mode {
        ProofMode::Core => &[ProveShard][..],
        ProofMode::Compressed => &[NormalizeShard, RecursionReduce],
        ProofMode::Groth16 => &[NormalizeShard, RecursionReduce, ShrinkWrap, Groth16Wrap],
        ProofMode::Plonk => &[NormalizeShard, RecursionReduce, ShrinkWrap, PlonkWrap],
    };
    let of_input_proofs = has_input_proofs.then_some(TaskKind::RecursionDeferred);
    kinds.iter().copied().chain(of_input_proofs).collect()
}

/// Rejects requests that expect an exit code other than 0, unless SP1 is built with `experimental`. Without that
/// feature SP1 proves such a run but then cannot verify its own proof.
pub(super) fn check_exit_is_provable(expected: ExpectedExit) -> Result<(), ProofFailure> {
    if cfg!(feature = "experimental") || expected.accepts(0) {
        return Ok(());
    }
    Err(ProofFailure::Request(
        "cannot prove a run with another exit code than 0: \
         SP1 verifies such proofs only with its feature `experimental`\n\
         hint: build with the feature `experimental`"
            .to_owned(),
    ))
}

/// Rejects requests for other modes than core if `checks_keys` is false. SP1's verifier then does not know the keys of
/// SP1's recursion programs, as with the feature `mprotect`, and accepts a recursion proof of any program. A worker
/// could then prove anything.
///
/// # Errors
/// Fails if the proof could not be trusted.
pub fn check_recursion_keys(mode: ProofMode, checks_keys: bool) -> Result<(), ProofFailure> {
    if checks_keys || mode == ProofMode::Core {
        return Ok(());
    }
    Err(ProofFailure::Request(format!(
        "cannot make a {mode} proof: with its feature `mprotect`, SP1 has no list of its recursion programs, so a wrong \
         proof of a worker would verify\n\
         hint: request a core proof, or build without the feature `mprotect`"
    )))
}

/// Returns the expected exit code in SP1's form.
///
/// # Errors
/// Fails if SP1 does not define the code.
pub fn status_code(expected: ExpectedExit) -> Result<StatusCode, ProofFailure> {
    let code = match expected {
        ExpectedExit::Success => return Ok(StatusCode::SUCCESS),
        ExpectedExit::Any => return Ok(StatusCode::ANY),
        ExpectedExit::Code(code) => code,
    };
    let undefined = || format!("exit code {code} cannot be expected: SP1 allows only the exit codes 0, 1 and 3");
    StatusCode::new(code).ok_or_else(|| ProofFailure::Request(undefined()))
}

/// Decodes the program outside of the asynchronous threads.
pub(super) async fn decode_elf(program: &[u8]) -> Result<Program, ProofFailure> {
    decode_owned_elf(program.into()).await
}

/// Does the same without a copy of the program.
pub(super) async fn decode_owned_elf(program: Arc<[u8]>) -> Result<Program, ProofFailure> {
    let decoded = tokio::task::spawn_blocking(move || decode_program(&program)).await;
    let decoded = decoded.expect("panics of the decoder are caught");
    decoded.map_err(|error| ProofFailure::Request(format!("invalid program: {error}")))
}

pub(super) fn decode_stdin(stdin: &[u8]) -> Result<SP1Stdin, ProofFailure> {
    decode_file(stdin).map_err(|error| {
        ProofFailure::Request(format!(
            "the stdin is not a serialized SP1Stdin: {error}\nhint: pass the whole input, written with bincode 1 as \
             SP1's own tools do"
        ))
    })
}
