//! `sp1d execute`, `sp1d verify` and `sp1d vkey`: the commands that need no worker.

use super::signals::cancelled_by_signals;
use crate::{
    args::{ExecuteArguments, VerifyArguments, VkeyArguments},
    exit::{self, CliError},
    files::{read_file, read_stdin},
    process::allocator,
    terminal::print,
};
use anyhow::Result;
use serde::Serialize;
use sp1_sdk::{HashableKey, SP1ProofWithPublicValues};
use sp1d_engine::{Controller, ControllerSettings};
use sp1d_orchestrator::ProofFailure;
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

#[derive(Serialize)]
struct ExecuteSummary {
    cycles: u64,
    gas: Option<u64>,
    public_values: String,
    seconds: f64,
}

pub(crate) async fn execute(arguments: ExecuteArguments) -> Result<()> {
    let program = read_program(&arguments.program.elf)?;
    let stdin = read_stdin(arguments.program.stdin.as_deref(), &arguments.program.input)?;
    let stop = cancelled_by_signals()?;
    let controller = controller().await;
    let started = Instant::now();
    let timeout = arguments.program.timeout.map(Duration::from_secs);
    let out_of_time = CancellationToken::new();
    let either = stop.child_token();
    if let Some(timeout) = timeout {
        let (either, out_of_time) = (either.clone(), out_of_time.clone());
        tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            out_of_time.cancel();
            either.cancel();
        });
    }
    let executed = match controller.execute(&program, &stdin, arguments.program.cycle_limit, &either).await {
        Err(ProofFailure::Cancelled) if out_of_time.is_cancelled() => {
            let seconds = timeout.unwrap_or_default().as_secs();
            let text = format!(
                "the program did not end within its timeout of {seconds} s\nhint: allow more time with `--timeout`"
            );
            return Err(CliError::new(exit::TIMEOUT, text).into());
        }
        other => other?,
    };
    let outcome = ExecuteSummary {
        cycles: executed.cycles,
        gas: executed.gas,
        public_values: format!("0x{}", hex::encode(&executed.public_values)),
        seconds: started.elapsed().as_secs_f64(),
    };
    if arguments.json {
        return print(&serde_json::to_string(&outcome)?);
    }
    print(&format!("cycles:        {}", outcome.cycles))?;
    if let Some(gas) = outcome.gas {
        print(&format!("gas:           {gas}"))?;
    }
    print(&format!("public values: {}", outcome.public_values))?;
    print(&format!("seconds:       {:.2}", outcome.seconds))
}

pub(crate) async fn verify(arguments: VerifyArguments) -> Result<()> {
    let program = read_program(&arguments.elf)?;
    let bytes = read_file(&arguments.proof, "the proof")?;
    let proof = decode_proof(&bytes).map_err(|error| {
        let name = arguments.proof.display();
        CliError::usage(format!(
            "{name} is not an SP1 proof: {error}\nhint: pass a file that `sp1d prove` or SP1's own tools saved"
        ))
    })?;
    let controller = controller().await;
    match controller.verify(proof, &program).await {
        Ok(()) => print("the proof verifies"),
        Err(ProofFailure::Request(reason)) => {
            Err(CliError::new(exit::UNVERIFIED, format!("the proof does not verify: {reason}")).into())
        }
        Err(other) => Err(other.into()),
    }
}

/// Decodes a proof from memory: sp1-sdk's own file loader trusts lengths in the file.
fn decode_proof(bytes: &[u8]) -> Result<SP1ProofWithPublicValues, bincode::Error> {
    let whole: Result<SP1ProofWithPublicValues, _> = bincode::deserialize(bytes);
    // Proofs from the prover network lack the last field.
    whole.or_else(|error| {
        bincode::deserialize::<sp1_sdk::proof::ProofFromNetwork>(bytes).map(Into::into).map_err(|_| error)
    })
}

pub(crate) async fn vkey(arguments: VkeyArguments) -> Result<()> {
    let program = read_program(&arguments.elf)?;
    let key = controller().await.verifying_key(&program).await?;
    print(&key.bytes32())
}

/// Returns a controller that uses the user's stored keys and this program's allocator.
pub(crate) async fn controller() -> Controller {
    let give_back = allocator::give_back;
    Controller::new(ControllerSettings { give_back, ..ControllerSettings::default() }).await
}

/// Reads the program file and checks its headers before anything slow starts.
pub(crate) fn read_program(path: &Path) -> Result<Vec<u8>> {
    let program = read_file(path, "the program")?;
    sp1d_engine::check_program(&program)
        .map_err(|error| CliError::usage(format!("cannot prove the program {}: {error}", path.display())))?;
    Ok(program)
}
