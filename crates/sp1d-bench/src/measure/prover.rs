//! The process that requests proofs and measures them.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sp1_distributed::{Elf, ProveRequest, Prover, ProverClient, ProvingKey, SP1Proof, SP1Stdin, env::EnvProver};
use sp1d_figures::{forget_peak, peak_bytes};
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// A program whose running time depends on its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BenchProgram {
    /// A Fibonacci loop. The size is the number of steps.
    Fibonacci,
    /// A block of Ethereum transactions. The size is the number of transactions.
    Evm,
}

impl BenchProgram {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fibonacci => "fibonacci",
            Self::Evm => "evm",
        }
    }

    pub(crate) const fn elf(self) -> Elf {
        match self {
            Self::Fibonacci => Elf::Static(include_bytes!("../../../../guests/elf/fibonacci")),
            Self::Evm => Elf::Static(include_bytes!("../../../../guests/elf/evm")),
        }
    }

    fn stdin(self, size: u32) -> SP1Stdin {
        let mut stdin = SP1Stdin::new();
        stdin.write(&size);
        if self == Self::Evm {
            /// An arbitrary seed. It determines who sends what to whom.
            const SEED: u64 = 1;
            stdin.write(&SEED);
        }
        stdin
    }

    /// Returns a size for a short proof with at least two shards, so that each of two provers proves one.
    const fn warm_up_size(self) -> u32 {
        match self {
            Self::Fibonacci => 1000,
            Self::Evm => 1,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct MeasureArguments {
    /// Program to prove.
    #[arg(long)]
    program: BenchProgram,
    /// Size of the measured proof.
    #[arg(long)]
    size: u32,
    /// Fail if the measured proof has fewer shards.
    #[arg(long)]
    min_shards: usize,
    /// Process ids of the workers. Each worker is measured together with the processes that it has started.
    #[arg(long, value_delimiter = ',')]
    workers: Vec<u32>,
}

/// The figures of a measured proof.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProofFigures {
    /// Seconds from the request to the proof.
    pub(crate) seconds: f64,
    /// Number of shards.
    pub(crate) shards: usize,
    /// Use of the process that requested the proof.
    pub(crate) asker: ProcessUsage,
    /// CPU time of the processes that the requesting process started: the executor's child.
    pub(crate) executor_cpu_seconds: f64,
    /// Use of each worker.
    pub(crate) workers: Vec<ProcessUsage>,
}

/// What one or several processes used during the measured proof.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProcessUsage {
    /// CPU time without children.
    pub(crate) cpu_seconds: f64,
    /// Peak memory. For several processes, the sum of their peaks.
    pub(crate) peak_bytes: u64,
}

pub(crate) fn prove(arguments: &MeasureArguments) -> Result<()> {
    // If memory runs out, the kernel should kill this process and not a process of the user.
    fs::write("/proc/self/oom_score_adj", "1000").context("cannot raise the out-of-memory score")?;
    let runtime = Runtime::new().context("cannot start threads")?;
    let measured = runtime.block_on(async {
        let client = ProverClient::try_from_env().await?;
        if let EnvProver::Distributed(prover) = &client {
            prover.connect().await?;
        }
        let program = arguments.program;
        let pk = client.setup(program.elf()).await?;
        let warm = client.prove(&pk, program.stdin(program.warm_up_size())).core().await?;
        client.verify(&warm, pk.verifying_key(), None)?;
        // The requesting process has no prover processes, and its executor is counted separately.
        let with_provers =
            |worker: &u32| std::iter::once(*worker).chain(sp1d_machine::child_processes(*worker)).collect();
        let groups: Vec<Vec<u32>> =
            std::iter::once(vec![std::process::id()]).chain(arguments.workers.iter().map(with_provers)).collect();
        let cpu = || groups.iter().map(|group| cpu_time(group)).collect::<Result<Vec<_>>>();
        groups.iter().flatten().try_for_each(|process| forget_peak(*process))?;
        let (cpu_before, start) = (cpu()?, Instant::now());
        let proof = client.prove(&pk, program.stdin(arguments.size)).core().await?;
        let (seconds, cpu_after) = (start.elapsed().as_secs_f64(), cpu()?);
        let usage = groups.iter().zip(cpu_before.iter().zip(&cpu_after)).map(|(group, (before, after))| {
            let cpu_seconds = after.own.saturating_sub(before.own).as_secs_f64();
            let peaks = group.iter().map(|process| peak_bytes(*process));
            Ok(ProcessUsage { cpu_seconds, peak_bytes: peaks.sum::<Result<u64>>()? })
        });
        let mut usage = usage.collect::<Result<Vec<_>>>()?;
        let workers = usage.split_off(1);
        client.verify(&proof, pk.verifying_key(), None)?;
        let SP1Proof::Core(shards) = &proof.proof else { anyhow::bail!("the proof is not a core proof") };
        ensure!(
            shards.len() >= arguments.min_shards,
            "the proof has {} shards, at least {} are needed",
            shards.len(),
            arguments.min_shards
        );
        anyhow::Ok(ProofFigures {
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
    /// CPU time of children that have ended.
    children: Duration,
}

/// Returns the CPU time of a group of processes.
fn cpu_time(group: &[u32]) -> Result<CpuTime> {
    let mut sum = CpuTime { own: Duration::ZERO, children: Duration::ZERO };
    for process in group {
        let CpuTime { own, children } = cpu_time_of(*process)?;
        sum = CpuTime { own: sum.own + own, children: sum.children + children };
    }
    Ok(sum)
}

/// Returns the CPU time of a process, from the fields of `/proc/PID/stat`; see proc(5).
fn cpu_time_of(process: u32) -> Result<CpuTime> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("cannot read the CPU time")?;
    let (_, rest) = stat.rsplit_once(") ").context("the stat file has no process name")?;
    let field = |at: usize| -> Result<u64> {
        Ok(rest.split(' ').nth(at).context("the stat file has too few fields")?.parse()?)
    };
    // Fixed in the kernel's interface, independent of the timer frequency: 100 ticks per second.
    let ticks = |user: usize, system: usize| {
        Ok::<_, anyhow::Error>(Duration::from_millis((field(user)? + field(system)?) * 10))
    };
    Ok(CpuTime { own: ticks(11, 12)?, children: ticks(13, 14)? })
}
