//! Uses a service that speaks the protocol of SP1's prover network. Usage, with SP1_PROVER=hosted, NETWORK_RPC_URL and
//! NETWORK_PRIVATE_KEY in the environment:
//!
//! - `hosted-program ELF describe`: prints the hash of the verifying key and the version of the circuits
//! - `hosted-program ELF prove MODE VALUE`: proves and verifies
//! - `hosted-program ELF request VALUE`: requests a core proof and prints the id of the request
//! - `hosted-program ELF wait ID`: waits for a requested proof and verifies it
//! - `hosted-program ELF timeout VALUE`: requests a proof that must be done within 5 s
//!
//! Awaiting a request is what earlier versions of sp1-sdk called `run_async`.

use sp1_sdk::{
    Elf, HashableKey, ProveRequest, Prover, ProverClient, ProvingKey, SP1_CIRCUIT_VERSION, SP1ProofWithPublicValues,
    SP1Stdin, SP1VerificationError, network::B256, utils,
};
use std::{env, error::Error, fs, time::Duration};

fn stdin(value: &str) -> Result<SP1Stdin, Box<dyn Error>> {
    let mut stdin = SP1Stdin::new();
    stdin.write(&value.parse::<u32>()?);
    Ok(stdin)
}

/// Prints the kind of the proof, and verifies it.
fn check<P: Prover>(
    client: &P,
    proof: &SP1ProofWithPublicValues,
    key: &P::ProvingKey,
) -> Result<(), SP1VerificationError> {
    println!("proof: {:?}", proof.proof);
    client.verify(proof, key.verifying_key(), None)?;
    println!("proven and verified");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    utils::setup_logger();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [elf, command @ ..] = arguments.as_slice() else { return Err("the path of the program is missing".into()) };
    let elf = Elf::Dynamic(fs::read(elf)?.into());
    match command {
        ["describe"] => {
            let client = ProverClient::builder().hosted().build().await;
            let key = client.setup(elf).await?;
            println!("key {}", key.verifying_key().bytes32());
            println!("circuits {SP1_CIRCUIT_VERSION}");
        }
        ["prove", mode, value] => {
            let client = ProverClient::from_env().await;
            let key = client.setup(elf).await?;
            let request = client.prove(&key, stdin(value)?);
            let request = match *mode {
                "core" => request.core(),
                "compressed" => request.compressed(),
                "plonk" => request.plonk(),
                "groth16" => request.groth16(),
                other => return Err(format!("unknown mode {other}").into()),
            };
            check(&client, &request.await?, &key)?;
        }
        ["request", value] => {
            let client = ProverClient::builder().hosted().build().await;
            let key = client.setup(elf).await?;
            println!("{}", client.prove(&key, stdin(value)?).core().request().await?);
        }
        ["wait", id] => {
            let client = ProverClient::builder().hosted().build().await;
            let key = client.setup(elf).await?;
            let proof = client.wait_proof(id.parse::<B256>()?, None, None).await?;
            check(&client, &proof, &key)?;
        }
        ["timeout", value] => {
            let client = ProverClient::builder().hosted().build().await;
            let key = client.setup(elf).await?;
            client.prove(&key, stdin(value)?).core().timeout(Duration::from_secs(5)).await?;
        }
        _ => {
            let usage = "describe | prove MODE VALUE | request VALUE | wait ID | timeout VALUE";
            return Err(format!("usage: hosted-program ELF {usage}").into());
        }
    }
    Ok(())
}
