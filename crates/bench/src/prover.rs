//! The process that asks for proofs.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sp1_distributed::{Elf, ProveRequest, Prover, ProverClient, ProvingKey, SP1Proof, SP1Stdin, env::EnvProver};
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// A program whose length is set by its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Program {
    /// A Fibonacci loop; its size is a number of steps.
    Fibonacci,
    /// A block of Ethereum transactions; its size is their number.
    Evm,
}

impl Program {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fibonacci => "fibonacci",
            Self::Evm => "evm",
        }
    }

    pub(crate) const fn elf(self) -> Elf {
        match self {
            Self::Fibonacci => Elf::Static(include_bytes!("../../../guests/elf/fibonacci")),
            Self::Evm => Elf::Static(include_bytes!("../../../guests/elf/evm")),
        }
    }

    fn stdin(self, size: u32) -> SP1Stdin {
        let mut stdin = SP1Stdin::new();
        stdin.write(&size);
        if self == Self::Evm {
            /// Any: it decides who sends what to whom.
            const SEED: u64 = 1;
            stdin.write(&SEED);
        }
        stdin
    }

    /// The fewest shards there are, at least two: enough that each of two provers has proven one.
    const fn warm_up_size(self) -> u32 {
        match self {
            Self::Fibonacci => 1000,
            Self::Evm => 1,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What is proven.
    #[arg(long)]
    program: Program,
    /// Of the measured proof.
    #[arg(long)]
    size: u32,
    /// Fewer shards are an error.
    #[arg(long)]
    least_shards: usize,
    /// Processes of the workers, which are measured too, each together with the processes that it started.
    #[arg(long, value_delimiter = ',')]
    workers: Vec<u32>,
}

/// What a measured proof came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// From asking for the proof to having it.
    pub(crate) seconds: f64,
    /// Shards.
    pub(crate) shards: usize,
    /// The process that asked.
    pub(crate) asker: Usage,
    /// Processor time of processes it started: the executor's child.
    pub(crate) executor_cpu_seconds: f64,
    /// The workers.
    pub(crate) workers: Vec<Usage>,
}

/// What a process used during the measured proof.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Processor time of its own.
    pub(crate) cpu_seconds: f64,
    /// Most memory; of several processes the sum of the most that each had.
    pub(crate) peak_bytes: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // When memory runs out, the kernel takes this process and none of the user's.
    fs::write("/proc/self/oom_score_adj", "1000").context("raise the out-of-memory score")?;
    let runtime = Runtime::new().context("start threads")?;
    let measured = runtime.block_on(async {
        let client = ProverClient::try_from_env().await?;
        if let EnvProver::Distributed(prover) = &client {
            prover.connect().await?;
        }
        let program = arguments.program;
        let pk = client.setup(program.elf()).await?;
        let warm = client.prove(&pk, program.stdin(program.warm_up_size())).core().await?;
        client.verify(&warm, pk.verifying_key(), None)?;
        // The process that asks has no prover of its own, and its executor is counted apart.
        let with_provers = |worker: &u32| std::iter::once(*worker).chain(machine::child_processes(*worker)).collect();
        let groups: Vec<Vec<u32>> =
            std::iter::once(vec![std::process::id()]).chain(arguments.workers.iter().map(with_provers)).collect();
        let cpu = || groups.iter().map(|group| cpu_time(group)).collect::<Result<Vec<_>>>();
        groups.iter().flatten().try_for_each(|process| forget_peak(*process))?;
        let (cpu_before, began) = (cpu()?, Instant::now());
        let proof = client.prove(&pk, program.stdin(arguments.size)).core().await?;
        let (seconds, cpu_after) = (began.elapsed().as_secs_f64(), cpu()?);
        let usage = groups.iter().zip(cpu_before.iter().zip(&cpu_after)).map(|(group, (before, after))| {
            let cpu_seconds = after.own.saturating_sub(before.own).as_secs_f64();
            let peaks = group.iter().map(|process| peak_bytes(*process));
            Ok(Usage { cpu_seconds, peak_bytes: peaks.sum::<Result<u64>>()? })
        });
        let mut usage = usage.collect::<Result<Vec<_>>>()?;
        let workers = usage.split_off(1);
        client.verify(&proof, pk.verifying_key(), None)?;
        let SP1Proof::Core(shards) = &proof.proof else { anyhow::bail!("a core proof was asked for") };
        ensure!(shards.len() >= arguments.least_shards, "{} shards are too few to measure", shards.len());
        anyhow::Ok(Measured {
            seconds,
            shards: shards.len(),
            asker: usage.remove(0),
            executor_cpu_seconds: cpu_after[0].children.saturating_sub(cpu_before[0].children).as_secs_f64(),
            workers,
        })
    })?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

struct CpuTime {
    own: Duration,
    /// Of children that have ended.
    children: Duration,
}

/// Processor time of a group of processes.
fn cpu_time(group: &[u32]) -> Result<CpuTime> {
    let mut sum = CpuTime { own: Duration::ZERO, children: Duration::ZERO };
    for process in group {
        let CpuTime { own, children } = cpu_time_of(*process)?;
        sum = CpuTime { own: sum.own + own, children: sum.children + children };
    }
    Ok(sum)
}

/// Processor time of a process. Fields of `/proc/PID/stat`, see proc(5).
fn cpu_time_of(process: u32) -> Result<CpuTime> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("read processor time")?;
    let (_, rest) = stat.rsplit_once(") ").context("a process has a name")?;
    let field = |at: usize| -> Result<u64> { Ok(rest.split(' ').nth(at).context("too few fields")?.parse()?) };
    // Of the kernel's interface, whatever its timer does: a hundred ticks a second.
    let ticks = |user: usize, system: usize| {
        Ok::<_, anyhow::Error>(Duration::from_millis((field(user)? + field(system)?) * 10))
    };
    Ok(CpuTime { own: ticks(11, 12)?, children: ticks(13, 14)? })
}

/// From now on [`peak_bytes`] speaks of what comes; see proc(5), clear_refs.
fn forget_peak(process: u32) -> Result<()> {
    fs::write(format!("/proc/{process}/clear_refs"), "5").context("forget peak memory")
}

/// The most memory that a process had.
fn peak_bytes(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("read peak memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the system counts memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().context("a number of kilobytes")?;
    Ok(kilobytes * 1024)
}
