//! The process that requests proofs and measures them.

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sp1_distributed::{
    Elf, ProofEvents, ProveRequest, Prover, ProverClient, ProvingKey, SP1Proof, SP1ProofMode, SP1ProofWithPublicValues,
    SP1Stdin,
    distributed::ProofEvent,
    env::{EnvProver, EnvProvingKey},
};
use sp1d_figures::{forget_peak, peak_bytes};
use std::{
    collections::HashMap,
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

/// Kind of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BenchMode {
    /// One proof for each shard.
    Core,
    /// One proof of constant size.
    Compressed,
}

impl BenchMode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Compressed => "compressed",
        }
    }

    const fn of_sp1(self) -> SP1ProofMode {
        match self {
            Self::Core => SP1ProofMode::Core,
            Self::Compressed => SP1ProofMode::Compressed,
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
    /// Kind of the proof.
    #[arg(long)]
    mode: BenchMode,
    /// Fail if the measured core proof has fewer shards.
    #[arg(long)]
    min_shards: usize,
    /// Leave out the short proof before the measured one.
    #[arg(long)]
    no_warm_up: bool,
    /// Process ids of the workers. Each worker is measured together with the processes that it has started.
    #[arg(long, value_delimiter = ',')]
    workers: Vec<u32>,
}

/// The figures of a measured proof.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProofFigures {
    /// Seconds from the request to the proof.
    pub(crate) seconds: f64,
    /// Number of shards. `None` for a compressed proof, which does not contain them.
    pub(crate) shards: Option<usize>,
    /// When workers proved the shards: start and end in seconds after the request. Empty for sp1-sdk's CPU prover.
    pub(crate) shard_spans: Vec<(f64, f64)>,
    /// Use of the process that requested the proof.
    pub(crate) asker: ProcessUsage,
    /// CPU time of the processes that the requesting process started: the executor's child.
    pub(crate) executor_cpu_seconds: f64,
    /// Use of each worker.
    pub(crate) workers: Vec<ProcessUsage>,
}

impl ProofFigures {
    /// Returns the time and the number of shards, in words.
    pub(crate) fn words(&self) -> String {
        let shards = self.shards.map(|shards| format!(" for {shards} shards")).unwrap_or_default();
        format!("{:.1} s{shards}", self.seconds)
    }
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
        let mode = arguments.mode.of_sp1();
        if !arguments.no_warm_up {
            let warm = client.prove(&pk, program.stdin(program.warm_up_size())).mode(mode).await?;
            client.verify(&warm, pk.verifying_key(), None)?;
        }
        // The requesting process has no prover processes, and its executor is counted separately.
        let with_provers =
            |worker: &u32| std::iter::once(*worker).chain(sp1d_machine::child_processes(*worker)).collect();
        let groups: Vec<Vec<u32>> =
            std::iter::once(vec![std::process::id()]).chain(arguments.workers.iter().map(with_provers)).collect();
        let cpu = || groups.iter().map(|group| cpu_time(group)).collect::<Result<Vec<_>>>();
        groups.iter().flatten().try_for_each(|process| forget_peak(*process))?;
        let cpu_before = cpu()?;
        let TimedProof { proof, seconds, shard_spans } =
            prove_timed(&client, &pk, program.stdin(arguments.size), mode).await?;
        let cpu_after = cpu()?;
        let usage = groups.iter().zip(cpu_before.iter().zip(&cpu_after)).map(|(group, (before, after))| {
            let cpu_seconds = after.own.saturating_sub(before.own).as_secs_f64();
            let peaks = group.iter().map(|process| peak_bytes(*process));
            Ok(ProcessUsage { cpu_seconds, peak_bytes: peaks.sum::<Result<u64>>()? })
        });
        let mut usage = usage.collect::<Result<Vec<_>>>()?;
        let workers = usage.split_off(1);
        client.verify(&proof, pk.verifying_key(), None)?;
        let shards = match &proof.proof {
            SP1Proof::Core(shards) => Some(shards.len()),
            SP1Proof::Compressed(_) | SP1Proof::Plonk(_) | SP1Proof::Groth16(_) => None,
        };
        if let Some(shards) = shards {
            let min_shards = arguments.min_shards;
            ensure!(shards >= min_shards, "the proof has {shards} shards, at least {min_shards} are needed");
        }
        anyhow::Ok(ProofFigures {
            seconds,
            shards,
            shard_spans,
            asker: usage.remove(0),
            executor_cpu_seconds: cpu_after[0].children.saturating_sub(cpu_before[0].children).as_secs_f64(),
            workers,
        })
    })?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// A proof, and when it was made.
struct TimedProof {
    proof: SP1ProofWithPublicValues,
    /// Seconds from the request to the proof.
    seconds: f64,
    shard_spans: Vec<(f64, f64)>,
}

/// Makes a proof. Only the distributed prover tells when shards start and end.
async fn prove_timed(
    client: &EnvProver,
    pk: &EnvProvingKey,
    stdin: SP1Stdin,
    mode: SP1ProofMode,
) -> Result<TimedProof> {
    let start = Instant::now();
    if let (EnvProver::Distributed(prover), EnvProvingKey::Distributed { pk, .. }) = (client, pk) {
        let (request, events) = prover.prove(pk, stdin).mode(mode).with_events();
        // The events may end a moment after the proof, which does not count.
        let proving = async { (request.await, start.elapsed().as_secs_f64()) };
        let ((proof, seconds), shard_spans) = tokio::join!(proving, shard_spans(events, start));
        return Ok(TimedProof { proof: proof?, seconds, shard_spans });
    }
    let proof = client.prove(pk, stdin).mode(mode).await?;
    Ok(TimedProof { proof, seconds: start.elapsed().as_secs_f64(), shard_spans: Vec::new() })
}

/// Returns the start and the end of each attempt of a shard, in seconds after `start`, when the proof has ended. An
/// attempt without an event for its end ran until then.
async fn shard_spans(mut events: ProofEvents, start: Instant) -> Vec<(f64, f64)> {
    let (mut running, mut spans) = (HashMap::new(), Vec::new());
    while let Some(event) = events.next().await {
        let now = start.elapsed().as_secs_f64();
        if let ProofEvent::Proving(attempt) = &event
            && attempt.kind.is_shard()
        {
            running.insert(attempt.attempt, now);
        }
        if let ProofEvent::Done(attempt)
        | ProofEvent::Dropped(attempt)
        | ProofEvent::Interrupted(attempt)
        | ProofEvent::TakenBack(attempt)
        | ProofEvent::AttemptFailed { attempt, .. } = &event
        {
            spans.extend(running.remove(&attempt.attempt).map(|started| (started, now)));
        }
    }
    let end = start.elapsed().as_secs_f64();
    spans.extend(running.into_values().map(|started| (started, end)));
    spans
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
