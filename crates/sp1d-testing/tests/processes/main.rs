//! Tests with orchestrator and workers as real processes, under the faults of real machines: processes die, freeze or
//! return wrong results, and connections break. Nothing is proven here, so each test takes seconds. The slow tier
//! repeats the worst faults with real provers.

mod connections;
mod faulty_workers;
mod lost_workers;
mod proofs;
mod provers;
mod proxy;
mod rolling_restarts;
mod unverified;

use proxy::Proxy;
use rustix::process::{Pid, Signal, kill_process};
use sp1d_orchestrator::probe;
use sp1d_testing::{fake_build, free_address};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// Longest wait for anything. Only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// The output lines of a process, each with the time when it was read.
#[derive(Default)]
struct OutputLines {
    lines: Mutex<Vec<(Instant, String)>>,
    more: Condvar,
}

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<OutputLines>,
    errors: Arc<OutputLines>,
}

fn read(from: impl std::io::Read + Send + 'static) -> Arc<OutputLines> {
    let output = Arc::new(OutputLines::default());
    let to = output.clone();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            to.lines.lock().unwrap().push((Instant::now(), line));
            to.more.notify_all();
        }
    });
    output
}

impl OutputLines {
    fn matching(&self, wanted: impl Fn(&str) -> bool) -> Vec<(Instant, String)> {
        self.lines.lock().unwrap().iter().filter(|(_, line)| wanted(line)).cloned().collect()
    }

    fn count(&self, start: &str) -> usize {
        self.matching(|line| line.starts_with(start)).len()
    }

    /// Waits for the `number`th line that starts with `start`. Returns its time and text.
    #[track_caller]
    fn wait_for(&self, start: &str, number: usize) -> (Instant, String) {
        self.wait_or(start, number, |all| format!("{all:?}"))
    }

    /// Same as `wait_for`. If the line does not come, panics with the text that `context` makes of all lines.
    #[track_caller]
    fn wait_or(&self, start: &str, number: usize, context: impl Fn(&[&String]) -> String) -> (Instant, String) {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(found) = lines.iter().filter(|(_, line)| line.starts_with(start)).nth(number - 1) {
                return found.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let all: Vec<&String> = lines.iter().map(|(_, line)| line).collect();
                panic!("{number} lines that start with {start:?} did not come within {PATIENCE:?}: {}", context(&all));
            }
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    fn all(&self) -> String {
        self.lines.lock().unwrap().iter().map(|(_, line)| format!("{line}\n")).collect()
    }
}

impl Process {
    fn start(mut command: Command) -> Self {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (output, errors) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
        let stdin = child.stdin.take();
        Self { child, stdin, output, errors }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn send(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    #[track_caller]
    fn wait_for(&self, start: &str, number: usize) -> (Instant, String) {
        let missing = |all: &[&String]| format!("{all:?}\n{}", self.errors.all());
        self.output.wait_or(start, number, missing)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a worker called `name` that takes `milliseconds` for a shard, and waits until it listens.
fn worker_at(address: SocketAddr, name: &str, milliseconds: u64, more: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-worker"));
    command.args(["--listen", &address.to_string(), "--name", name, "--milliseconds", &milliseconds.to_string()]);
    command.args(more);
    let process = Process::start(command);
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "{name} does not listen: {}", process.errors.all());
        thread::sleep(Duration::from_millis(10));
    }
    process
}

fn worker(name: &str, milliseconds: u64) -> (SocketAddr, Process) {
    let address = free_address();
    (address, worker_at(address, name, milliseconds, &[]))
}

fn orchestrator(addresses: &[SocketAddr], more: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-orchestrator"));
    command.args(addresses.iter().map(SocketAddr::to_string)).args(more);
    Process::start(command)
}

/// Checks that every proof succeeds and that nothing is left. The process itself compares the proofs with the expected
/// ones.
#[track_caller]
fn check_proven(mut orchestrator: Process) -> Process {
    let (_, end) = orchestrator.wait_for("left ", 1);
    let outcome = orchestrator.output.matching(|line| line.starts_with("proven") || line.starts_with("failed"));
    assert!(!outcome.is_empty() && outcome.iter().all(|(_, line)| line.starts_with("proven")), "{outcome:?}");
    assert_eq!(end, "left 0 attempts 0 artifacts 0 bytes");
    drop(orchestrator.stdin.take());
    assert!(orchestrator.child.wait().unwrap().success());
    orchestrator
}

/// Returns how often each shard was started, over all `workers`.
fn starts(workers: &[&Process]) -> BTreeMap<String, usize> {
    let mut starts = BTreeMap::new();
    for (_, line) in workers.iter().flat_map(|worker| worker.output.matching(|line| line.starts_with("started "))) {
        *starts.entry(line).or_default() += 1;
    }
    starts
}

#[track_caller]
fn check_once(workers: &[&Process], shards: usize) {
    let starts = starts(workers);
    assert!(
        starts.len() == shards && starts.values().all(|times| *times == 1),
        "a shard was started twice or never: {starts:?}"
    );
}

/// Prints a duration for the table in docs/reliability.md.
#[expect(clippy::print_stderr, reason = "the figures go into docs/reliability.md")]
fn show(what: &str, took: Duration) {
    eprintln!("{what}: {:.3} s", took.as_secs_f32());
}
