//! Measures how much memory attempts take, compared to the estimate, for programs of different shape at several cuts. A
//! worker logs these figures for each attempt. With a GPU, they are about the memory of the machine, and the driver
//! reports the memory of the GPU.

use crate::measure::{
    BenchGpus, GpuArguments, WorkerSetting, cuts, pin_to_two_cores, start_workers, this_machine, without_settings,
};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sp1d_figures::{FigureSpread, GpuMemoryFigures, GpuMemoryWatch, MachineFacts, write_figures};
use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
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
    #[command(flatten)]
    gpus: GpuArguments,
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
    /// The memory of the GPU for each program and cut.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gpus: Vec<GpuRow>,
    /// Estimate divided by use, over all attempts.
    estimate_over_use: Option<FigureSpread>,
}

/// The memory of the GPU while it proved one program at one cut, from the start of the worker on.
#[derive(Debug, Serialize)]
struct GpuRow {
    program: &'static str,
    element_threshold: u64,
    gpu: GpuMemoryFigures,
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
    let gpu = arguments.gpus.find()?.map(BenchGpus::first);
    // The processor traces for a GPU on all cores.
    if gpu.is_none() {
        pin_to_two_cores()?;
    }
    let (mut rows, mut gpus, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for program in &arguments.programs {
        for cut in &arguments.cuts {
            eprintln!("{} at cut {cut}", program.name());
            let watch = gpu.as_ref().map(BenchGpus::watch).transpose()?;
            let attempts = measure(*program, *cut, &arguments.mode, gpu.as_ref())?;
            let row_of_gpu = |gpu| GpuRow { program: program.name(), element_threshold: *cut, gpu };
            gpus.extend(watch.iter().flat_map(GpuMemoryWatch::figures).map(row_of_gpu));
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
    for GpuRow { program, element_threshold, gpu } in &gpus {
        println!("{program:12} {element_threshold:>10} {gpu}");
    }
    let estimate_over_use = ratios(&all);
    if let Some(ratio) = estimate_over_use {
        println!("estimate / use of all attempts: {ratio}");
    }
    let report = MemoryReport { machine: this_machine(), mode: arguments.mode.clone(), rows, gpus, estimate_over_use };
    write_figures(&arguments.gpus.output("memory"), &report)
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

/// Proves a run of about three shards on a worker with one prover, one shard at a time. `gpu` is the only GPU. `None`:
/// the prover has two threads on the processor.
fn measure(program: Shape, cut: u64, mode: &str, gpu: Option<&BenchGpus>) -> Result<Vec<MeasuredAttempt>> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let sp1d = env::current_exe().context("cannot find the path of this program")?.with_file_name("sp1d");
    let setting = match gpu {
        Some(_) => WorkerSetting::Gpus,
        None => WorkerSetting::Processor { provers: 1, threads: 2, core: None },
    };
    let more = ["--parallel-shards", "1", "--log", "info", "--log-format", "json"];
    let workers = start_workers(&[setting], gpu, &more, folder.path())?;
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
