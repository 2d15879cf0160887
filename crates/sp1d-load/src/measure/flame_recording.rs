//! Flame graphs: which functions take the processor time of a process, and who calls them.
//!
//! Debian's `perf` interrupts a process while it uses a core, and copies its stack. `perf script` then names the
//! functions on the copied stacks by the symbols of the program, and two programs of the package inferno draw them.
//! Inlined functions count as their callers, because the programs have no debug information.

use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Interrupts in a second of processor time. With 100, work that is due at full milliseconds would count too often.
const PER_SECOND: &str = "99";

/// How callers are found. The functions have no frame pointers, so `perf` copies 32 KiB of the stack: the frames of
/// nested futures are large.
const CALL_GRAPH: &str = "dwarf,32768";

/// The standard library's function at the start of each thread. Its callers are left out.
const THREAD_START: &str = "std::sys::backtrace::__rust_begin_short_backtrace";

/// Functions with a smaller part of the time are left out, in percent. The next number is used if the graph is too
/// large.
const MIN_PERCENTS: [&str; 4] = ["0.5", "1", "2", "4"];

/// Maximum size of a graph, which is kept in the repository.
const MAX_GRAPH_BYTES: usize = 300_000;

/// Number of functions to print.
const PRINTED: usize = 8;

const PERF: &str = "perf";
const COLLAPSE: &str = "inferno-collapse-perf";
const DRAW: &str = "inferno-flamegraph";

/// A process that is being recorded.
struct RecordedProcess {
    name: &'static str,
    perf: Child,
    data: PathBuf,
}

/// Records this process, which is the orchestrator, and the process of workers. Dropping it stops the recording.
pub(crate) struct FlameRecording {
    processes: Vec<RecordedProcess>,
    /// Where the graphs go, and the first part of their names.
    folder: PathBuf,
    part: &'static str,
    scratch: TempDir,
}

impl FlameRecording {
    /// Starts to record for `time`. `workers` is the id of the process of the workers.
    ///
    /// # Errors
    /// Fails if a program is missing, or if a folder cannot be created.
    pub(crate) fn start(folder: &Path, part: &'static str, workers: u32, time: Duration) -> Result<Self> {
        check_programs()?;
        fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
        let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
        let mut recording = Self { processes: Vec::new(), folder: folder.to_owned(), part, scratch };
        for (name, process) in [("orchestrator", process::id()), ("worker", workers)] {
            let data = recording.scratch.path().join(format!("{name}.data"));
            let mut perf = Command::new(PERF);
            perf.args(["record", "--quiet", "--event", "cpu-clock", "--freq", PER_SECOND, "--call-graph", CALL_GRAPH]);
            perf.args(["--pid", &process.to_string(), "--output"]).arg(&data);
            perf.args(["--", "sleep", &time.as_secs_f64().to_string()]);
            let started = perf.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            recording.processes.push(RecordedProcess { name, perf: started.context("cannot start perf")?, data });
        }
        Ok(recording)
    }

    /// Waits for the end of the recording, writes the graphs, and prints the functions that take most time themselves.
    ///
    /// # Errors
    /// Fails if `perf` may not record, or if a graph cannot be made.
    pub(crate) fn finish(mut self) -> Result<()> {
        for recorded in &mut self.processes {
            let status = recorded.perf.wait().context("cannot wait for perf")?;
            ensure!(
                status.success(),
                "perf cannot record the {}: {status}\nhint: `sysctl kernel.perf_event_paranoid` must be at most 2, and \
                 a container must allow the system call perf_event_open",
                recorded.name
            );
        }
        for RecordedProcess { name, data, .. } in &self.processes {
            let folded = self.fold(name, data)?;
            let graph = self.folder.join(format!("{}-{name}.svg", self.part));
            draw(&folded, &format!("{}: {name}", self.part), &graph)?;
            println!("{}, own time:", graph.display());
            let text = fs::read_to_string(&folded).context("cannot read the stacks")?;
            for (function, part) in largest(&text, PRINTED) {
                println!("{:>6.1} %  {function}", part * 100.0);
            }
        }
        Ok(())
    }

    /// Returns a file with one line for each stack: the functions from the start of the thread on, and a count.
    fn fold(&self, name: &str, data: &Path) -> Result<PathBuf> {
        let (stacks, folded) = (self.scratch.path().join(name), self.scratch.path().join(format!("{name}.folded")));
        run(PERF, &["script", "--no-inline", "--input"], data, &stacks)?;
        run(COLLAPSE, &["--quiet", "--skip-after", THREAD_START], &stacks, &folded)?;
        Ok(folded)
    }
}

impl Drop for FlameRecording {
    fn drop(&mut self) {
        for recorded in &mut self.processes {
            // It has usually ended.
            let _ = recorded.perf.kill();
            let _ = recorded.perf.wait();
        }
    }
}

/// Fails if a program is missing. Otherwise that would show only after the recording.
fn check_programs() -> Result<()> {
    for (program, hint) in [
        (PERF, "install it (Debian 12: apt-get install linux-perf)"),
        (COLLAPSE, "install it with `cargo install inferno`"),
        (DRAW, "install it with `cargo install inferno`"),
    ] {
        let output = Command::new(program).arg("--help").stdin(Stdio::null()).output();
        output.with_context(|| format!("cannot start {program}\nhint: {hint}"))?;
    }
    Ok(())
}

/// Runs a program with the file `from`. Its output goes to the file `to`.
fn run(program: &str, options: &[&str], from: &Path, to: &Path) -> Result<()> {
    let file = File::create(to).with_context(|| format!("cannot create {}", to.display()))?;
    let output = Command::new(program).args(options).arg(from).stdin(Stdio::null()).stdout(file).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Draws the stacks in the file `folded`.
fn draw(folded: &Path, title: &str, graph: &Path) -> Result<()> {
    for percent in MIN_PERCENTS {
        let options = ["--quiet", "--deterministic", "--colors", "rust", "--title", title, "--minwidth", percent];
        run(DRAW, &options, folded, graph)?;
        let bytes = fs::metadata(graph).with_context(|| format!("cannot read {}", graph.display()))?.len();
        if bytes <= MAX_GRAPH_BYTES as u64 {
            return Ok(());
        }
    }
    bail!("{} has more than {} kB", graph.display(), MAX_GRAPH_BYTES / 1000)
}

/// Returns the functions that take most time themselves, with their parts of all time.
fn largest(folded: &str, count: usize) -> Vec<(String, f64)> {
    let mut samples: BTreeMap<&str, u64> = BTreeMap::new();
    for (stack, number) in folded.lines().filter_map(|line| line.rsplit_once(' ')) {
        let function = stack.rsplit(';').next().unwrap_or(stack);
        *samples.entry(function).or_default() += number.parse().unwrap_or(0);
    }
    let all: u64 = samples.values().sum();
    let mut sorted: Vec<_> = samples.into_iter().collect();
    sorted.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let parts = sorted.into_iter().map(|(name, number)| (name.to_owned(), number as f64 / all.max(1) as f64));
    parts.take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_listed_by_their_own_time() {
        let folded = "main;send 2\nmain;check;hash 5\nmain;send;check <T as U>::hash 1\nother;send 2\n";
        let found = largest(folded, 2);
        assert_eq!(found, [("hash".to_owned(), 0.5), ("send".to_owned(), 0.4)]);
        assert!(largest("", 2).is_empty());
    }
}
