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
        signals::cancelled_by_signals,
    },
    exit::{self, CliError},
    files::{InputArgument, read_stdin},
    terminal::{print, say_above, spinner},
};
use anyhow::Result;
use sp1d_engine::{check_executor_host, smallest_worker_bytes};
use sp1d_machine::Memory;
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
/// transaction takes 93,000, so about 65 transactions fill a shard.
const TRANSACTIONS_PER_SHARD: u32 = 100;

pub(in crate::command) async fn run(arguments: TuneArguments) -> Result<()> {
    check_executor_host()?;
    start_computing()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = u16::try_from(cores).unwrap_or(u16::MAX);
    let (program, stdin) = read_work(&arguments, cores)?;
    let mut search = TuneSearch::new(TuneLimits {
        cores,
        max_provers: max_provers(Memory::now())?,
        provers: arguments.provers,
        parallel_shards: arguments.parallel_shards,
        every_cut: arguments.every_cut,
    });
    let work = TuneWorkload { program: program.into(), stdin: stdin.into(), runner: Arc::new(runner().await) };
    let cancel = cancelled_by_signals()?;
    let timeout = Duration::from_secs(arguments.timeout);
    let end = search_all(&mut search, &work, timeout, &cancel).await;
    // Print the results so far, also after Ctrl-C.
    if search.measured().iter().any(|measured| measured.outcome.is_ok()) {
        if arguments.json { print(&report(&search).to_string())? } else { print_table(&search)? }
    }
    end
}

/// Returns the number of provers that fit into this machine's memory.
fn max_provers(memory: Option<Memory>) -> Result<u16> {
    let Some(memory) = memory else { return Ok(u16::MAX) };
    let needed = smallest_worker_bytes();
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

/// Returns the program and its input.
fn read_work(arguments: &TuneArguments, cores: u16) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok(match &arguments.elf {
        Some(path) => (read_program(path)?, read_stdin(arguments.stdin.as_deref(), &arguments.input)?),
        None => {
            // Enough for the largest setting: one prover per core and two shards per prover.
            let transactions = TRANSACTIONS_PER_SHARD.saturating_mul(2 * u32::from(cores));
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
                say(&format!("  {rate:.1} thousand cycles per second, peak {peak:.1} GB, measured in {seconds} s"));
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
