//! Proves a program with a service that speaks the protocol of SP1's prover network. Usage, with SP1_PROVER=hosted,
//! NETWORK_RPC_URL and NETWORK_PRIVATE_KEY in the environment:
//!
//! - `hosted-program ELF prove MODE VALUE`: proves and verifies
//! - `hosted-program ELF request VALUE`: requests a core proof and prints the id of the request
//! - `hosted-program ELF wait ID`: waits for a requested proof and verifies it
//! - `hosted-program ELF timeout VALUE`: requests a proof that must be done within 5 s

use sp1_sdk::{Elf, ProveRequest, Prover, ProverClient, ProvingKey, SP1Stdin, network::B256, utils};
use std::{env, error::Error, fs, time::Duration};

fn stdin(value: &str) -> Result<SP1Stdin, Box<dyn Error>> {
    let mut stdin = SP1Stdin::new();
    stdin.write(&value.parse::<u32>()?);
    Ok(stdin)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    utils::setup_logger();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [elf, command @ ..] = arguments.as_slice() else { return Err("the path of the program is missing".into()) };
    let elf = Elf::Dynamic(fs::read(elf)?.into());
    match command {
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
            let proof = request.await?;
            client.verify(&proof, key.verifying_key(), None)?;
            println!("proven and verified");
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
            client.verify(&proof, key.verifying_key(), None)?;
            println!("proven and verified");
        }
        ["timeout", value] => {
            let client = ProverClient::builder().hosted().build().await;
            let key = client.setup(elf).await?;
            client.prove(&key, stdin(value)?).core().timeout(Duration::from_secs(5)).await?;
        }
        _ => return Err("usage: hosted-program ELF prove MODE VALUE | request VALUE | wait ID | timeout VALUE".into()),
    }
    Ok(())
}
