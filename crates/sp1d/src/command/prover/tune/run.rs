//! Measures one setting after another and shows the result.

use super::{
    measure::{TuneWorkload, measure},
    report::{print_table, report, words},
    search::{TuneLimits, TuneMeasurement, TuneSearch},
};
use crate::{
    args::TuneArguments,
    command::prover::{
        computing::start_computing,
        program::{read_program, runner},
        prover_commands::free_gpus,
        signals::cancelled_by_signals,
    },
    exit::{self, CliError},
    files::{InputArgument, read_stdin},
    terminal::{print, say_above, spinner},
};
use anyhow::Result;
use sp1d_engine::{
    GPU_ATTEMPT_BYTES, REST_BYTES, check_executor_host, largest_gpu_cut, pinned_bytes, smallest_worker_bytes,
};
use sp1d_machine::{GpuDevice, Memory};
use sp1d_model::hint;
use sp1d_orchestrator::ProofFailure;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// The program to measure with: a block of Ethereum transactions.
const PROGRAM: &[u8] = include_bytes!("../../../../programs/evm");

/// Transactions per shard that is proven at the same time. A shard of the largest cut holds 6 million cycles, and a
/// transaction takes 85,000, so about 70 transactions fill a shard.
const TRANSACTIONS_PER_SHARD: u32 = 100;

pub(in crate::command) async fn run(arguments: TuneArguments) -> Result<()> {
    let (gpus, gpu_library) = match &arguments.gpus {
        Some(selection) => free_gpus(selection).map(|(gpus, library)| (gpus, Some(library)))?,
        None => (Vec::new(), None),
    };
    check_executor_host()?;
    start_computing()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = u16::try_from(cores).unwrap_or(u16::MAX);
    let mut limits = TuneLimits {
        cores,
        gpus: u16::try_from(gpus.len()).unwrap_or(u16::MAX),
        max_provers: u16::MAX,
        provers: arguments.provers,
        parallel_shards: arguments.parallel_shards,
        every_cut: arguments.every_cut,
    };
    let (program, stdin) = read_work(&arguments, limits.max_shards())?;
    let needed = if gpus.is_empty() { smallest_worker_bytes() } else { gpu_prover_bytes(&gpus) };
    limits.max_provers = max_provers(needed, Memory::now())?;
    let mut search = TuneSearch::new(limits);
    let work = TuneWorkload {
        program: program.into(),
        stdin: stdin.into(),
        runner: Arc::new(runner().await),
        gpus: gpus.iter().map(|gpu| gpu.index).collect(),
        gpu_library,
        spill_folder: arguments.default_spill_folder.clone(),
    };
    let cancel = cancelled_by_signals()?;
    let timeout = Duration::from_secs(arguments.timeout);
    let end = search_all(&mut search, &work, timeout, &cancel).await;
    // Print the results so far, also after Ctrl-C.
    if search.measured().iter().any(|measured| measured.outcome.is_ok()) {
        if arguments.json {
            print(&report(&search, &work.gpus).to_string())?;
        } else {
            print_table(&search, &work.gpus)?;
        }
    }
    end
}

/// Returns the memory of the machine that a prover on any of `gpus` needs for one shard.
fn gpu_prover_bytes(gpus: &[GpuDevice]) -> u64 {
    let pinned = gpus.iter().filter_map(|gpu| largest_gpu_cut(gpu.memory_bytes)).map(pinned_bytes).max();
    REST_BYTES + pinned.unwrap_or(0) + GPU_ATTEMPT_BYTES
}

/// Returns the number of provers that fit into this machine's memory. A worker with one prover needs `needed` bytes.
fn max_provers(needed: u64, memory: Option<Memory>) -> Result<u16> {
    let Some(memory) = memory else { return Ok(u16::MAX) };
    if memory.available_bytes < needed {
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        let text = format!(
            "not enough memory: a worker needs {:.1} GB, {:.1} GB are free\nhint: stop other programs",
            gigabytes(needed),
            gigabytes(memory.available_bytes)
        );
        return Err(CliError::new(exit::HOST, text).into());
    }
    Ok(u16::try_from(memory.available_bytes / needed).unwrap_or(u16::MAX))
}

/// Returns the program and its input. The default input has enough transactions for `max_shards`.
fn read_work(arguments: &TuneArguments, max_shards: usize) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok(match &arguments.elf {
        Some(path) => (read_program(path)?, read_stdin(arguments.stdin.as_deref(), &arguments.input)?),
        None => {
            let shards = u32::try_from(max_shards).unwrap_or(u32::MAX);
            let transactions = TRANSACTIONS_PER_SHARD.saturating_mul(shards);
            let inputs = [InputArgument::U32(transactions), InputArgument::U64(1)];
            (PROGRAM.to_vec(), read_stdin(None, &inputs)?)
        }
    })
}

async fn search_all(
    search: &mut TuneSearch,
    work: &TuneWorkload,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<()> {
    while let Some(setting) = search.next() {
        let number = search.measured().len() + 1;
        let title = format!("setting {number}: {}", words(setting));
        let bar = spinner(title.clone());
        let say = |text: &str| say_above(&bar, text);
        say(&title);
        let started = Instant::now();
        let outcome = measure(setting, work, timeout, &|text| say(&format!("  {text}")), cancel).await;
        bar.finish_and_clear();
        let outcome = match outcome {
            Ok(figures) => {
                let (rate, peak) = (figures.cycles_per_second() / 1e3, figures.peak_bytes as f64 / 1e9);
                let seconds = started.elapsed().as_secs();
                let on_gpu = figures.gpu_peak_bytes.map(|bytes| format!(" and {:.1} GB on a GPU", bytes as f64 / 1e9));
                let peak = format!("{peak:.1} GB{}", on_gpu.unwrap_or_default());
                say(&format!("  {rate:.1} thousand cycles per second, peak {peak}, measured in {seconds} s"));
                if figures.shards < setting.shards() {
                    let (shards, wanted) = (figures.shards, setting.shards());
                    say(&format!("  the program is too short: it has {shards} of the {wanted} shards to measure"));
                }
                Ok(figures)
            }
            Err(error) if cancel.is_cancelled() => return Err(error),
            // No setting can prove an invalid program. If a setting worked before, the program is valid, and the error
            // can only come from this cut.
            Err(error) if search.fastest().is_none() && is_of_program(&error) => return Err(error),
            Err(error) => {
                let (reason, hints) = hint::separate(error.chain().map(ToString::to_string));
                say(&format!("  failed: {reason}"));
                hints.iter().for_each(|hint| say(&format!("  hint: {hint}")));
                Err(reason)
            }
        };
        search.record(TuneMeasurement { setting, outcome });
    }
    if search.fastest().is_none() {
        return Err(CliError::new(
            exit::OTHER,
            "no setting could be measured\nhint: see the reason of each setting above",
        )
        .into());
    }
    Ok(())
}

fn is_of_program(error: &anyhow::Error) -> bool {
    let failure = error.downcast_ref::<ProofFailure>();
    matches!(failure, Some(ProofFailure::Program(_) | ProofFailure::Request(_) | ProofFailure::Machine(_)))
}
