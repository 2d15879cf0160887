//! Proves a Fibonacci loop with the prover that `SP1_PROVER` names, verifies the proof and saves it. Usage:
//! `example-fibonacci [STEPS] [FILE]`.
//!
//! It uses nothing specific to `sp1-distributed`, so it also compiles against sp1-sdk.

use sp1_sdk::{Elf, HashableKey, ProveRequest, Prover, ProverClient, ProvingKey, SP1Stdin, include_elf, utils};
use std::{env, error::Error};

/// The guest program, under the name that the build script gives it.
const FIBONACCI_ELF: Elf = include_elf!("fibonacci");

#[expect(clippy::print_stdout, reason = "this is the program's output")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    utils::setup_logger();
    let mut arguments = env::args().skip(1);
    let steps: u32 = arguments.next().map_or(Ok(1000), |steps| steps.parse())?;
    let file = arguments.next().unwrap_or_else(|| "proof.bin".to_owned());
    let mut stdin = SP1Stdin::new();
    stdin.write(&steps);

    let client = ProverClient::from_env().await;
    let (_, report) = client.execute(FIBONACCI_ELF, stdin.clone()).cycle_limit(1_000_000_000).await?;
    println!("executed: {} cycles", report.total_instruction_count());

    let pk = client.setup(FIBONACCI_ELF).await?;
    let mut proof = client.prove(&pk, stdin).core().await?;
    client.verify(&proof, pk.verifying_key(), None)?;
    let (n, a, b): (u32, u32, u32) =
        (proof.public_values.read(), proof.public_values.read(), proof.public_values.read());
    println!("proven: after {n} steps {a}, {b}; program {}", pk.verifying_key().bytes32());
    proof.save(file)?;
    Ok(())
}
