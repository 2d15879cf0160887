//! `sp1d tune`: finds the worker settings that prove fastest on this machine.

mod measure;
mod search;

use super::{
    program::{controller, print, read_program},
    start_computing,
};
use crate::{
    args::{OutputForm, TuneArguments},
    console::{say_above, spinner},
    exit::{self, Failure, split_hints},
    input::{Input, read_stdin},
};
use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use engine::{check_executor_host, smallest_worker_bytes};
use machine::Memory;
use measure::{Work, measure, worker_flags};
use orchestrator::ProofFailure;
use search::{Limits, Measured, Search, Setting};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// The program to measure with: a block of Ethereum transactions.
const PROGRAM: &[u8] = include_bytes!("../../../../guests/elf/evm");

/// Transactions per shard that is proven at the same time. A shard of the largest cut holds 6 million cycles, and a
/// transaction takes 93,000, so about 65 transactions fill a shard.
const TRANSACTIONS_A_SHARD: u32 = 100;

pub(crate) async fn run(arguments: TuneArguments) -> Result<()> {
    check_executor_host()?;
    start_computing()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = u16::try_from(cores).unwrap_or(u16::MAX);
    let (program, stdin) = read_work(&arguments, cores)?;
    let mut search = Search::new(Limits {
        cores,
        most_provers: most_provers(Memory::now())?,
        provers: arguments.provers,
        parallel_shards: arguments.parallel_shards,
        every_cut: arguments.every_cut,
    });
    let work = Work { program: program.into(), stdin: stdin.into(), controller: Arc::new(controller().await) };
    let cancel = super::cancelled_by_signals()?;
    let timeout = Duration::from_secs(arguments.timeout);
    let end = search_all(&mut search, &work, timeout, &cancel).await;
    // Print the results so far, also after Ctrl-C.
    if search.measured().iter().any(|measured| measured.outcome.is_ok()) {
        match arguments.output {
            OutputForm::Json => print(&report(&search).to_string())?,
            OutputForm::Table => print_table(&search)?,
        }
    }
    end
}

/// Returns the number of provers that fit into this machine's memory.
fn most_provers(memory: Option<Memory>) -> Result<u16> {
    let Some(memory) = memory else { return Ok(u16::MAX) };
    let needed = smallest_worker_bytes();
    if memory.available_bytes < needed {
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        let text = format!(
            "not enough memory: a worker needs {:.1} GB, {:.1} GB are free\nhint: stop other programs",
            gigabytes(needed),
            gigabytes(memory.available_bytes)
        );
        return Err(Failure::new(exit::HOST, text).into());
    }
    Ok(u16::try_from(memory.available_bytes / needed).unwrap_or(u16::MAX))
}

/// Returns the program and its input.
fn read_work(arguments: &TuneArguments, cores: u16) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok(match &arguments.elf {
        Some(path) => (read_program(path)?, read_stdin(arguments.stdin.as_deref(), &arguments.input)?),
        None => {
            // Enough for the largest setting: one prover per core and two shards per prover.
            let transactions = TRANSACTIONS_A_SHARD.saturating_mul(2 * u32::from(cores));
            let inputs = [Input::U32(transactions), Input::U64(1)];
            (PROGRAM.to_vec(), read_stdin(None, &inputs)?)
        }
    })
}

async fn search_all(search: &mut Search, work: &Work, timeout: Duration, cancel: &CancellationToken) -> Result<()> {
    while let Some(setting) = search.next() {
        let number = search.measured().len() + 1;
        let title = format!("setting {number}: {}", words(setting));
        let bar = spinner(title.clone());
        let say = |text: &str| say_above(&bar, text);
        say(&title);
        let began = Instant::now();
        let outcome = measure(setting, work, timeout, &|text| say(&format!("  {text}")), cancel).await;
        bar.finish_and_clear();
        let outcome = match outcome {
            Ok(figures) => {
                let (rate, peak) = (figures.cycles_per_second() / 1e3, figures.peak_bytes as f64 / 1e9);
                let seconds = began.elapsed().as_secs();
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
                let (reason, hints) = split_hints(error.chain().map(ToString::to_string));
                say(&format!("  failed: {reason}"));
                hints.iter().for_each(|hint| say(&format!("  hint: {hint}")));
                Err(reason)
            }
        };
        search.record(Measured { setting, outcome });
    }
    if search.fastest().is_none() {
        return Err(Failure::new(
            exit::OTHER,
            "no setting could be measured\nhint: see the reason of each setting above",
        )
        .into());
    }
    Ok(())
}

fn is_of_program(error: &anyhow::Error) -> bool {
    let failure = error.downcast_ref::<ProofFailure>();
    matches!(failure, Some(ProofFailure::Guest(_) | ProofFailure::Request(_) | ProofFailure::Host(_)))
}

fn words(Setting { provers, threads, parallel_shards, cut }: Setting) -> String {
    let plural = |count: u16, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let each = if provers == 1 { "" } else { " each" };
    let cut = cut.map_or_else(String::new, |cut| format!(", ELEMENT_THRESHOLD={cut}"));
    format!(
        "{}, {}{each}, {} at a time{each}{cut}",
        plural(provers, "prover"),
        plural(threads, "thread"),
        plural(parallel_shards, "shard")
    )
}

/// Returns what a user must set to use `setting`: flags of the worker, and an environment variable of the program that
/// requests proofs. An automatic value needs neither.
fn to_copy(setting: Setting, automatic: Setting) -> (Vec<String>, Option<String>) {
    let is_automatic = Setting { cut: None, ..setting } == automatic;
    let flags = if is_automatic { Vec::new() } else { worker_flags(setting) };
    (flags, setting.cut.map(|cut| format!("ELEMENT_THRESHOLD={cut}")))
}

fn report(search: &Search) -> Value {
    let of = |Measured { setting, outcome }: &Measured| {
        let (figures, failure) = match outcome {
            Ok(figures) => (Some(figures), None),
            Err(reason) => (None, Some(reason)),
        };
        let rate = figures.map(search::Figures::cycles_per_second);
        json!({ "setting": setting, "figures": figures, "cycles_per_second": rate, "failure": failure })
    };
    let fastest = search.fastest().map(|fastest| {
        let (flags, variable) = to_copy(fastest.setting, search.automatic());
        json!({ "measured": of(fastest), "worker_flags": flags, "environment": variable })
    });
    json!({ "measured": search.measured().iter().map(of).collect::<Vec<_>>(), "fastest": fastest })
}

fn print_table(search: &Search) -> Result<()> {
    let Some(fastest) = search.fastest() else { return Ok(()) };
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "provers",
        "threads each",
        "shards each",
        "ELEMENT_THRESHOLD",
        "cycles/s",
        "s/million cycles",
        "peak memory",
        "",
    ]);
    for measured in search.measured() {
        let Setting { provers, threads, parallel_shards, cut } = measured.setting;
        let mut row = vec![provers.to_string(), threads.to_string(), parallel_shards.to_string()];
        match &measured.outcome {
            Ok(figures) => {
                let rate = figures.cycles_per_second();
                let auto = if cut.is_none() { " (auto)" } else { "" };
                row.push(format!("{}{auto}", figures.element_threshold));
                row.push(format!("{rate:.0}"));
                row.push(format!("{:.1}", 1e6 / rate));
                row.push(format!("{:.1} GB", figures.peak_bytes as f64 / 1e9));
            }
            Err(_) => row.extend([cut.map_or("auto".to_owned(), |cut| cut.to_string()), "failed".to_owned()]),
        }
        if measured.outcome.is_ok() {
            row.push(if measured == fastest { "fastest" } else { "" }.to_owned());
        }
        table.add_row(row);
    }
    print(&table.to_string())?;
    let (flags, variable) = to_copy(fastest.setting, search.automatic());
    print(&match flags.as_slice() {
        [] => "worker: no flags needed: the automatic setting is the fastest".to_owned(),
        flags => format!("worker: sp1d worker {}", flags.join(" ")),
    })?;
    print(&match variable {
        Some(variable) => format!("proofs: {variable} in the environment of the orchestrator"),
        None => "proofs: ELEMENT_THRESHOLD=auto, the default".to_owned(),
    })
}
