//! Measures how much memory attempts take, compared to the estimate, for programs of different shape at several cuts. A
//! worker logs these figures for each attempt.

use crate::measure::{WorkerSetting, cuts, pin_to_two_cores, start_workers, this_machine, without_settings};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sp1d_figures::{FigureSpread, MachineFacts, write_figures};
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

#[derive(Debug, clap::Args)]
pub(crate) struct MemoryArguments {
    /// Programs to measure, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "evm,fibonacci,memory,precompiles")]
    programs: Vec<Shape>,
    /// Cuts to measure, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [(1 << 25) - (1 << 22), (1 << 26) - (1 << 22), (1 << 27) - (1 << 22)], value_parser = cuts())]
    cuts: Vec<u64>,
    /// Kind of proof.
    #[arg(long, default_value = "core")]
    mode: String,
    /// File for the figures.
    #[arg(long, default_value = "docs/bench/memory.json")]
    output: PathBuf,
}

/// A program, named by what it does most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    /// A real program: a block of Ethereum transactions.
    Evm,
    /// Arithmetic.
    Fibonacci,
    /// Memory accesses.
    Memory,
    /// Precompile calls.
    Precompiles,
}

impl Shape {
    const fn name(self) -> &'static str {
        match self {
            Self::Evm => "evm",
            Self::Fibonacci => "fibonacci",
            Self::Memory => "memory",
            Self::Precompiles => "precompiles",
        }
    }

    /// Returns inputs for a run of about three shards of `cut` cells. The cells per step were counted in real shards.
    fn inputs(self, cut: u64) -> Vec<String> {
        let steps = |cells: u64| 3 * cut / cells;
        match self {
            Self::Evm => vec![format!("u32:{}", steps(12_000_000).max(1)), "u64:1".to_owned()],
            Self::Fibonacci => vec![format!("u32:{}", steps(730))],
            Self::Memory => vec![format!("u32:{}", steps(400_000).max(1))],
            Self::Precompiles => vec![format!("u32:{}", steps(120_000).max(1))],
        }
    }
}

/// The content of the output file.
#[derive(Debug, Serialize)]
struct MemoryReport {
    machine: MachineFacts,
    mode: String,
    rows: Vec<Row>,
    /// Estimate divided by use, over all attempts.
    estimate_over_use: Option<FigureSpread>,
}

/// All attempts of one kind, of one program at one cut.
#[derive(Debug, Serialize)]
struct Row {
    program: &'static str,
    element_threshold: u64,
    kind: String,
    attempts: usize,
    /// The largest use of an attempt on top of the loaded prover, and the estimate for that attempt.
    used_gb: f64,
    estimated_gb: f64,
    estimate_over_use: Option<FigureSpread>,
}

/// The fields of a worker's log line that are used here.
#[derive(Debug, Deserialize)]
struct LogLine {
    fields: LogFields,
    #[serde(default)]
    spans: Vec<LogSpan>,
}

#[derive(Debug, Deserialize)]
struct LogFields {
    #[serde(default)]
    message: String,
    used_gb: Option<f64>,
    estimated_gb: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct LogSpan {
    kind: Option<String>,
}

/// Memory that one attempt took.
#[derive(Debug, Clone)]
struct MeasuredAttempt {
    kind: String,
    used_gb: f64,
    estimated_gb: f64,
}

pub(crate) fn run(arguments: &MemoryArguments) -> Result<()> {
    pin_to_two_cores()?;
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    for program in &arguments.programs {
        for cut in &arguments.cuts {
            eprintln!("{} at cut {cut}", program.name());
            let attempts = measure(*program, *cut, &arguments.mode)?;
            all.extend(attempts.iter().cloned());
            let mut kinds: BTreeMap<String, Vec<MeasuredAttempt>> = BTreeMap::new();
            for attempt in attempts {
                kinds.entry(attempt.kind.clone()).or_default().push(attempt);
            }
            rows.extend(kinds.into_iter().filter_map(|(kind, attempts)| row(*program, *cut, kind, &attempts)));
        }
    }
    println!("program, cut, kind: attempts, largest use, estimate for that attempt, estimate / use");
    for row in &rows {
        let ratio = row.estimate_over_use.map_or_else(String::new, |ratio| ratio.to_string());
        println!(
            "{:12} {:>10} {:16} {:>3} {:>6.2} GB {:>6.2} GB  {ratio}",
            row.program, row.element_threshold, row.kind, row.attempts, row.used_gb, row.estimated_gb
        );
    }
    let estimate_over_use = ratios(&all);
    if let Some(ratio) = estimate_over_use {
        println!("estimate / use of all attempts: {ratio}");
    }
    let report = MemoryReport { machine: this_machine(), mode: arguments.mode.clone(), rows, estimate_over_use };
    write_figures(&arguments.output, &report)
}

fn ratios(attempts: &[MeasuredAttempt]) -> Option<FigureSpread> {
    FigureSpread::of(attempts.iter().map(|attempt| attempt.estimated_gb / attempt.used_gb.max(0.01)))
}

fn row(program: Shape, cut: u64, kind: String, attempts: &[MeasuredAttempt]) -> Option<Row> {
    let most = attempts.iter().max_by(|one, other| one.used_gb.total_cmp(&other.used_gb))?;
    Some(Row {
        program: program.name(),
        element_threshold: cut,
        kind,
        attempts: attempts.len(),
        used_gb: most.used_gb,
        estimated_gb: most.estimated_gb,
        estimate_over_use: ratios(attempts),
    })
}

/// Proves a run of about three shards on a worker with one prover of two threads, one shard at a time.
fn measure(program: Shape, cut: u64, mode: &str) -> Result<Vec<MeasuredAttempt>> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let sp1d = env::current_exe().context("cannot find the path of this program")?.with_file_name("sp1d");
    let setting = [WorkerSetting { provers: 1, threads: 2, core: None }];
    let more = ["--parallel-shards", "1", "--log", "info", "--log-format", "json"];
    let workers = start_workers(&setting, &more, folder.path())?;
    let list = folder.path().join("distributed.json");
    fs::write(&list, serde_json::to_string(&[workers[0].address()])?)?;
    let elf = Path::new("guests/elf").join(program.name());
    let mut command = Command::new(&sp1d);
    without_settings(&mut command)
        .args(["prove", "--mode", mode, "--json"])
        .arg("--workers")
        .arg(&list)
        .arg("--elf")
        .arg(&elf)
        .arg("--output")
        .arg(folder.path().join("proof.bin"))
        .args(program.inputs(cut).iter().flat_map(|input| ["--input", input]))
        .env("ELEMENT_THRESHOLD", cut.to_string())
        .stdout(Stdio::null());
    let proven = command.status();
    let text = workers[0].log();
    ensure!(
        proven.context("cannot start `sp1d prove`")?.success(),
        "`sp1d prove` failed for {} at cut {cut}",
        program.name()
    );
    Ok(text.lines().filter_map(attempt).collect())
}

/// Reads the memory of a finished attempt from a log line. Returns `None` for other lines.
fn attempt(line: &str) -> Option<MeasuredAttempt> {
    let LogLine { fields, spans } = serde_json::from_str(line).ok()?;
    let kind = spans.into_iter().find_map(|span| span.kind)?;
    let done = fields.message == "attempt proven";
    done.then_some(MeasuredAttempt { kind, used_gb: fields.used_gb?, estimated_gb: fields.estimated_gb? })
}
