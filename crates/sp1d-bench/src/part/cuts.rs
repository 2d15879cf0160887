//! Measures the proving time of a million cycles and the peak memory at each cut. Runs `sp1d tune` with one prover and
//! one shard at a time, for every cut that fits this machine. The prover computes on the processor, or on a GPU.

use crate::measure::{BenchGpus, BenchProgram, GpuArguments, this_machine};
use anyhow::{Context, Result, bail, ensure};
use plotters::prelude::*;
use serde::{Deserialize, Serialize};
use sp1d_figures::{MachineFacts, write_figures};
use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

#[derive(Debug, clap::Args)]
pub(crate) struct CutsArguments {
    /// Programs to measure, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "evm,fibonacci")]
    programs: Vec<BenchProgram>,
    #[command(flatten)]
    gpus: GpuArguments,
}

/// The content of the output file.
#[derive(Debug, Serialize)]
struct CutsReport {
    machine: MachineFacts,
    programs: Vec<Curve>,
}

#[derive(Debug, Serialize)]
struct Curve {
    program: &'static str,
    cuts: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct Point {
    element_threshold: u64,
    cycles: u64,
    seconds: f64,
    seconds_per_million_cycles: f64,
    peak_bytes: u64,
    /// Peak of the GPU's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_peak_bytes: Option<u64>,
}

/// The fields of the output of `sp1d tune --json` that are used here.
#[derive(Debug, Deserialize)]
struct Tuned {
    measured: Vec<TunedCut>,
}

#[derive(Debug, Deserialize)]
struct TunedCut {
    figures: Option<TunedFigures>,
    failure: Option<String>,
}

#[derive(Debug, Deserialize)]
struct TunedFigures {
    element_threshold: u64,
    cycles: u64,
    seconds: f64,
    peak_bytes: u64,
    gpu_peak_bytes: Option<u64>,
}

/// Returns the ELF file of `program` and inputs that are large enough to fill the measured shards of every cut: one on
/// the processor, four on a GPU.
fn inputs(program: BenchProgram, on_gpu: bool) -> (&'static str, &'static [&'static str]) {
    match (program, on_gpu) {
        (BenchProgram::Fibonacci, _) => ("guests/elf/fibonacci", &["u32:4000000"]),
        (BenchProgram::Evm, false) => ("guests/elf/evm", &["u32:200", "u64:1"]),
        (BenchProgram::Evm, true) => ("guests/elf/evm", &["u32:400", "u64:1"]),
    }
}

pub(crate) fn run(arguments: &CutsArguments) -> Result<()> {
    let gpu = arguments.gpus.find()?.map(BenchGpus::first);
    let curve = |program: &BenchProgram| Ok(Curve { program: program.name(), cuts: measure(*program, gpu.as_ref())? });
    let programs = arguments.programs.iter().map(curve).collect::<Result<Vec<_>>>()?;
    for Curve { program, cuts } in &programs {
        println!("{program}: cut, million cycles, seconds per million cycles, peak memory");
        for point in cuts {
            let on_gpu = point.gpu_peak_bytes.map(|bytes| format!(", {:.1} GB on the GPU", bytes as f64 / 1e9));
            println!(
                "{:>12} {:>6.2} {:>6.1} {:>6.1} GB{}",
                point.element_threshold,
                point.cycles as f64 / 1e6,
                point.seconds_per_million_cycles,
                point.peak_bytes as f64 / 1e9,
                on_gpu.unwrap_or_default()
            );
        }
    }
    let output = arguments.gpus.output("cuts");
    plot(&programs, &output.with_extension("svg"))?;
    write_figures(&output, &CutsReport { machine: this_machine(), programs })
}

/// Measures `program` at every cut, from the largest cut to the smallest. `gpu` is the only GPU. `None`: the prover
/// computes on the processor.
fn measure(program: BenchProgram, gpu: Option<&BenchGpus>) -> Result<Vec<Point>> {
    let (elf, inputs) = inputs(program, gpu.is_some());
    let (flag, value) = gpu.map_or_else(|| ("--provers", "1".to_owned()), |gpu| ("--gpus", gpu.flag()));
    let tune = env::current_exe().context("cannot find the path of this program")?.with_file_name("sp1d");
    let output = Command::new(&tune)
        .args(["tune", "--elf", elf, flag, &value, "--parallel-shards", "1", "--every-cut", "--json"])
        .args(inputs.iter().flat_map(|input| ["--input", input]))
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", tune.display()))?;
    ensure!(output.status.success(), "`sp1d tune` failed: {}", output.status);
    let tuned: Tuned = serde_json::from_slice(&output.stdout).context("cannot decode the output of `sp1d tune`")?;
    let point = |cut: TunedCut| match cut {
        TunedCut { figures: Some(figures), .. } => {
            let TunedFigures { element_threshold, cycles, seconds, peak_bytes, gpu_peak_bytes } = figures;
            let seconds_per_million_cycles = seconds * 1e6 / cycles.max(1) as f64;
            Ok(Point { element_threshold, cycles, seconds, seconds_per_million_cycles, peak_bytes, gpu_peak_bytes })
        }
        TunedCut { failure, .. } => bail!("cannot measure a cut: {}", failure.unwrap_or_default()),
    };
    tuned.measured.into_iter().map(point).collect()
}

/// Draws the seconds per million cycles against the cut.
fn plot(curves: &[Curve], path: &Path) -> Result<()> {
    let points = || curves.iter().flat_map(|curve| &curve.cuts);
    let cells = |point: &Point| point.element_threshold as f64 / 1e6;
    let most = |of: &dyn Fn(&Point) -> f64| points().map(of).fold(0.0, f64::max) * 1.1;
    let area = SVGBackend::new(path, (720, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Cost of a million cycles by cut", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..most(&cells), 0.0..most(&|point| point.seconds_per_million_cycles))?;
    chart
        .configure_mesh()
        .x_desc("ELEMENT_THRESHOLD, million cells")
        .y_desc("seconds per million cycles")
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (number, curve) in curves.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        let line: Vec<(f64, f64)> =
            curve.cuts.iter().map(|point| (cells(point), point.seconds_per_million_cycles)).collect();
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)).point_size(4))?
            .label(curve.program)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    area.present().with_context(|| format!("cannot write {}", path.display()))
}
