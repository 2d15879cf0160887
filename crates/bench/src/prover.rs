//! The process that asks for proofs.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sp1_distributed::{Elf, ProveRequest, Prover, ProverClient, ProvingKey, SP1Proof, SP1Stdin, env::EnvProver};
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

const PROGRAM: Elf = Elf::Static(include_bytes!("../../../guests/elf/fibonacci"));

/// Three shards: enough that every worker has proven one.
const WARM_UP_STEPS: u32 = 60_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Steps of the measured proof.
    #[arg(long)]
    steps: u32,
}

/// What a measured proof came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// From asking for the proof to having it.
    pub(crate) seconds: f64,
    /// Shards.
    pub(crate) shards: usize,
    /// Processor time of this process during the proof, without that of processes it started.
    pub(crate) cpu_seconds: f64,
    /// Most memory that this process ever had.
    pub(crate) peak_bytes: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = Runtime::new().context("start threads")?;
    let measured = runtime.block_on(async {
        let client = ProverClient::try_from_env().await?;
        if let EnvProver::Distributed(prover) = &client {
            prover.connect().await?;
        }
        let pk = client.setup(PROGRAM).await?;
        let input = |steps: u32| {
            let mut stdin = SP1Stdin::new();
            stdin.write(&steps);
            stdin
        };
        let warm = client.prove(&pk, input(WARM_UP_STEPS)).core().await?;
        client.verify(&warm, pk.verifying_key(), None)?;
        let (cpu_before, began) = (cpu_time()?, Instant::now());
        let proof = client.prove(&pk, input(arguments.steps)).core().await?;
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_time()?);
        client.verify(&proof, pk.verifying_key(), None)?;
        let SP1Proof::Core(shards) = &proof.proof else { anyhow::bail!("a core proof was asked for") };
        ensure!(shards.len() >= 6, "{} shards are too few to measure", shards.len());
        anyhow::Ok(Measured {
            seconds,
            shards: shards.len(),
            cpu_seconds: (cpu - cpu_before).as_secs_f64(),
            peak_bytes: peak_bytes("self")?,
        })
    })?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// Processor time of this process. Fields of `/proc/PID/stat`, see proc(5).
fn cpu_time() -> Result<Duration> {
    cpu_time_of("self")
}

pub(crate) fn cpu_time_of(process: &str) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("read processor time")?;
    let (_, rest) = stat.rsplit_once(") ").context("a process has a name")?;
    let field = |at: usize| -> Result<u64> { Ok(rest.split(' ').nth(at).context("too few fields")?.parse()?) };
    // Of the kernel's interface, whatever its timer does: a hundred ticks a second.
    Ok(Duration::from_millis((field(11)? + field(12)?) * 10))
}

/// The most memory that a process ever had.
pub(crate) fn peak_bytes(process: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("read peak memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the system counts memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().context("a number of kilobytes")?;
    Ok(kilobytes * 1024)
}
