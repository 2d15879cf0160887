//! Tests with orchestrator and workers as real processes, under the faults of real machines: processes die, freeze or
//! return wrong results, and connections break. Nothing is proven here, so each test takes seconds. The slow tier
//! repeats the worst faults with real provers.

use rustix::process::{Pid, Signal, kill_process};
use sp1d_orchestrator::probe;
use sp1d_testing::fake_build;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

mod proxy;

use proxy::Proxy;

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

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
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

#[test]
fn a_killed_worker_is_replaced_at_once() {
    let [(a, dies), (b, first), (c, second)] = ["dies", "first", "second"].map(|name| worker(name, 400));
    let orchestrator = orchestrator(&[a, b, c], &["--shards", "12"]);
    let (_, line) = dies.wait_for("started ", 2);
    dies.signal(Signal::KILL);
    let killed = Instant::now();
    orchestrator.wait_for("lost dies", 1);
    let noticed = killed.elapsed();
    // The other workers take over when they have a free slot. They start the shard from its beginning.
    let deadline = Instant::now() + PATIENCE;
    let again = loop {
        let all = [&first, &second].map(|worker| worker.output.matching(|other| other == line));
        if let Some((at, _)) = all.into_iter().flatten().next() {
            break at - killed;
        }
        assert!(Instant::now() < deadline, "{line} did not come from another worker");
        thread::sleep(Duration::from_millis(5));
    };
    check_proven(orchestrator);
    show("SIGKILL of a worker: noticed after", noticed);
    show("SIGKILL of a worker: its shard started again after", again);
    assert!(noticed < Duration::from_millis(500), "{noticed:?}");
    // A slot is free after 400 ms at most, but the first shard that starts in it may be another one.
    assert!(again < Duration::from_millis(2000), "{again:?}");
}

#[test]
fn a_free_worker_takes_over_from_a_killed_one_within_half_a_second() {
    let (a, dies) = worker("dies", 3000);
    let (b, idle) = worker("idle", 200);
    let orchestrator = orchestrator(&[a, b], &["--shards", "2", "--batch", "1"]);
    dies.wait_for("started ", 1);
    idle.wait_for("ended ", 1);
    thread::sleep(Duration::from_millis(200));
    dies.signal(Signal::KILL);
    let killed = Instant::now();
    let (at, _) = idle.wait_for("started ", 2);
    let took = at - killed;
    check_proven(orchestrator);
    show("SIGKILL of a worker while another is free: assigned after", took);
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn all_workers_but_one_are_killed_and_one_comes_back() {
    let [(a, one), (b, two), (c, three)] = ["one", "two", "three"].map(|name| worker(name, 200));
    let orchestrator = orchestrator(&[a, b, c], &["--shards", "20"]);
    orchestrator.wait_for("done ", 3);
    one.signal(Signal::KILL);
    two.signal(Signal::KILL);
    orchestrator.wait_for("done ", 6);
    drop((one, two));
    let back = worker_at(a, "one", 200, &[]);
    back.wait_for("started ", 1);
    check_proven(orchestrator);
    drop(three);
}

#[test]
fn all_workers_are_killed_and_one_comes_back() {
    let [(a, one), (b, two)] = ["one", "two"].map(|name| worker(name, 200));
    let orchestrator = orchestrator(&[a, b], &["--shards", "10"]);
    orchestrator.wait_for("done ", 2);
    drop((one, two));
    orchestrator.wait_for("lost ", 2);
    thread::sleep(Duration::from_millis(500));
    let _back = worker_at(b, "two", 200, &[]);
    check_proven(orchestrator);
}

#[test]
fn a_frozen_worker_is_replaced_within_four_seconds_and_works_again_when_it_thaws() {
    let (a, freezes) = worker("freezes", 300);
    let (b, stays) = worker("stays", 300);
    let orchestrator = orchestrator(&[a, b], &["--shards", "40"]);
    freezes.wait_for("started ", 2);
    freezes.signal(Signal::STOP);
    let frozen = Instant::now();
    let (at, _) = orchestrator.wait_for("lost freezes", 1);
    show("SIGSTOP of a worker: noticed after", at - frozen);
    assert!(at - frozen < Duration::from_secs(4), "{:?}", at - frozen);
    thread::sleep(Duration::from_secs(2));
    let before = freezes.output.count("ended ");
    freezes.signal(Signal::CONT);
    freezes.wait_for("ended ", before + 2);
    check_proven(orchestrator);
    drop(stays);
}

#[test]
fn a_frozen_orchestrator_keeps_its_workers_and_repeats_no_shard() {
    let [(a, one), (b, two)] = ["one", "two"].map(|name| worker(name, 300));
    let orchestrator = orchestrator(&[a, b], &["--shards", "16"]);
    orchestrator.wait_for("done ", 4);
    orchestrator.signal(Signal::STOP);
    // Longer than three heartbeats: the workers consider the orchestrator lost and continue their attempts.
    thread::sleep(Duration::from_secs(8));
    orchestrator.signal(Signal::CONT);
    check_proven(orchestrator);
    check_once(&[&one, &two], 16);
}

/// Runs a proof on one worker behind a proxy, and calls `harm` on the proxy during the proof. Shards take two seconds.
fn harmed(harm: impl FnOnce(&Proxy), more: &[&str]) -> (Process, Process) {
    let (address, worker) = worker("only", 2000);
    let proxy = Proxy::start(address);
    let orchestrator = orchestrator(&[proxy.address()], &[&["--shards", "5"], more].concat());
    worker.wait_for("started ", 1);
    harm(&proxy);
    (check_proven(orchestrator), worker)
}

#[test]
fn a_connection_that_is_closed_and_refused_for_five_seconds_costs_no_shard() {
    let start = Instant::now();
    let (_, worker) = harmed(
        |proxy| {
            proxy.close();
            thread::sleep(Duration::from_secs(5));
            proxy.open();
        },
        &[],
    );
    show("a connection lost for 5 s in a proof of 5 shards of 2 s: the proof took", start.elapsed());
    check_once(&[&worker], 5);
}

#[test]
fn a_connection_that_swallows_everything_is_noticed_and_costs_no_shard() {
    let cut = Mutex::new(None);
    let (orchestrator, worker) = harmed(
        |proxy| {
            *cut.lock().unwrap() = Some(Instant::now());
            proxy.swallow(true, true);
        },
        &[],
    );
    let (at, _) = orchestrator.wait_for("lost only", 1);
    let noticed = at - cut.lock().unwrap().unwrap();
    show("a connection cut without being closed: noticed after", noticed);
    assert!(noticed < Duration::from_secs(4), "{noticed:?}");
    check_once(&[&worker], 5);
}

#[test]
fn a_connection_that_swallows_one_direction_is_noticed_and_costs_no_shard() {
    for (to_worker, to_orchestrator) in [(true, false), (false, true)] {
        let (_, worker) = harmed(|proxy| proxy.swallow(to_worker, to_orchestrator), &[]);
        check_once(&[&worker], 5);
    }
}

#[test]
fn a_connection_that_is_lost_over_and_over_costs_no_shard() {
    let (_, worker) = harmed(
        |proxy| {
            for _ in 0..6 {
                proxy.close();
                proxy.open();
                thread::sleep(Duration::from_millis(700));
            }
        },
        &[],
    );
    check_once(&[&worker], 5);
}

#[test]
fn a_slow_link_loses_no_worker() {
    let (address, worker) = worker("far", 100);
    let proxy = Proxy::start(address);
    proxy.limit(2 << 20);
    let start = Instant::now();
    // Records and results of 4 MiB take 2 s each on a link of 2 MiB/s. With a heartbeat every 300 ms, three missed
    // heartbeats would be noticed in that time.
    let more = ["--shards", "4", "--record-bytes", "4194304", "--heartbeat-ms", "300"];
    let orchestrator = check_proven(orchestrator(&[proxy.address()], &more));
    assert_eq!(orchestrator.output.count("lost "), 0, "{}", orchestrator.errors.all());
    assert!(start.elapsed() > Duration::from_secs(8), "the link was not slow: {:?}", start.elapsed());
    check_once(&[&worker], 4);
}

#[test]
fn a_worker_is_killed_while_it_downloads_and_another_while_it_uploads() {
    let [(a, downloads), (b, uploads), (c, stays)] = ["downloads", "uploads", "stays"].map(|name| worker(name, 100));
    let [slow, slow_too] = [a, b].map(Proxy::start);
    slow.limit(512 << 10);
    slow_too.limit(2 << 20);
    let more = ["--shards", "9", "--record-bytes", "2097152"];
    let orchestrator = orchestrator(&[slow.address(), slow_too.address(), c], &more);
    // A shard takes 0.1 s, but its result takes 1 s to arrive. On the slower link not even the first record has
    // arrived.
    uploads.wait_for("started ", 1);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(uploads.output.count("ended "), 0);
    uploads.signal(Signal::KILL);
    assert_eq!(downloads.output.count("started "), 0);
    downloads.signal(Signal::KILL);
    check_proven(orchestrator);
    drop(stays);
}

/// Runs a proof on a worker that treats shards in `manner`, and an honest worker that takes `milliseconds` for each.
/// Checks that the proof succeeds and that the first worker is quarantined.
fn check_manner(manner: &str, milliseconds: u64) {
    let (a, honest) = worker("honest", milliseconds);
    let address = free_address();
    let bad = worker_at(address, "bad", 20, &["--manner", manner]);
    let orchestrator = check_proven(orchestrator(&[a, address], &["--shards", "20"]));
    let warned = orchestrator.errors.matching(|line| line.contains("worker quarantined")).len();
    assert!(warned > 0, "{manner}: {}", orchestrator.errors.all());
    drop((honest, bad));
}

#[test]
fn a_worker_that_returns_garbage_is_quarantined() {
    check_manner("garbage", 150);
}

#[test]
fn a_worker_that_returns_the_result_of_other_inputs_is_quarantined() {
    check_manner("another", 150);
}

#[test]
fn a_worker_that_returns_nothing_is_quarantined() {
    check_manner("nothing", 150);
}

#[test]
fn a_worker_that_fails_every_attempt_is_quarantined() {
    check_manner("fail", 150);
}

#[test]
fn a_worker_that_floods_is_quarantined() {
    check_manner("flood", 600);
}

/// Starts a worker with one prover process that takes `load` milliseconds to load, and waits until it is loaded.
fn supervised(name: &str, milliseconds: u64, load: u64, more: &[&str]) -> (SocketAddr, Process) {
    let (address, load) = (free_address(), load.to_string());
    let mut arguments = vec!["--provers", "1", "--load-milliseconds", &load];
    arguments.extend(more);
    let worker = worker_at(address, name, milliseconds, &arguments);
    let deadline = Instant::now() + PATIENCE;
    while ready_provers(address) == 0 {
        assert!(Instant::now() < deadline, "{}", worker.errors.all());
        thread::sleep(Duration::from_millis(10));
    }
    (address, worker)
}

/// Asks the worker at `address` how many of its provers are loaded. Returns 0 if the worker does not respond.
fn ready_provers(address: SocketAddr) -> u32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let member = address.into();
    runtime.block_on(probe(&member, &fake_build())).map_or(0, |probed| probed.ready_provers)
}

/// Returns the prover processes of `worker`.
fn provers(worker: &Process) -> Vec<Pid> {
    let children = format!("/proc/{0}/task/{0}/children", worker.child.id());
    let children = std::fs::read_to_string(children).unwrap();
    children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().unwrap())).collect()
}

#[test]
fn a_killed_prover_costs_one_attempt_and_the_session_continues() {
    let (a, dies) = supervised("dies", 3000, 500, &[]);
    let (b, idle) = worker("idle", 200);
    let orchestrator = orchestrator(&[a, b], &["--shards", "2", "--batch", "1"]);
    dies.errors.wait_for("started ", 1);
    let (_, line) = idle.wait_for("ended ", 1);
    thread::sleep(Duration::from_millis(100));
    kill_process(provers(&dies)[0], Signal::KILL).unwrap();
    let killed = Instant::now();
    let (again, _) = idle.wait_for("started ", 2);
    let orchestrator = check_proven(orchestrator);
    show("SIGKILL of a prover: its shard started again elsewhere after", again - killed);
    assert!(again - killed < Duration::from_millis(500), "{:?}", again - killed);
    assert_eq!(orchestrator.output.count("lost "), 0, "the session of the worker dropped after {line}");
    assert!(dies.errors.all().contains("killed by signal 9"), "{}", dies.errors.all());
}

#[test]
fn a_killed_prover_is_loaded_again_and_proves_the_same_shard() {
    let (a, dies) = supervised("dies", 1000, 300, &[]);
    let orchestrator = orchestrator(&[a], &["--shards", "2"]);
    dies.errors.wait_for("started ", 1);
    let killed = provers(&dies)[0];
    kill_process(killed, Signal::KILL).unwrap();
    let orchestrator = check_proven(orchestrator);
    assert_eq!(orchestrator.output.count("lost "), 0);
    let loaded = provers(&dies);
    assert!(loaded.len() == 1 && loaded[0] != killed, "{}", dies.errors.all());
}

#[test]
fn a_prover_reports_a_panic_and_keeps_running() {
    let (a, panics) = supervised("panics", 100, 100, &["--manner", "panic", "--only", "1"]);
    let first = provers(&panics);
    let mut orchestrator = orchestrator(&[a], &["--shards", "3"]);
    let (_, failed) = orchestrator.wait_for("failed ", 1);
    assert!(failed.contains("planted panic"), "{failed}");
    assert_eq!(provers(&panics), first);
    drop(orchestrator.stdin.take());
}

#[test]
fn two_provers_of_one_worker_prove_at_the_same_time() {
    let address = free_address();
    let both = worker_at(address, "both", 1000, &["--provers", "2"]);
    let start = Instant::now();
    let orchestrator = orchestrator(&[address], &["--shards", "4", "--batch", "4"]);
    check_proven(orchestrator);
    assert_eq!(provers(&both).len(), 2);
    assert!(
        start.elapsed() < Duration::from_millis(3800),
        "the provers did not work at the same time: {:?}",
        start.elapsed()
    );
}

#[test]
fn a_prover_ends_when_its_worker_is_killed() {
    let (_, worker) = supervised("ends", 100, 100, &[]);
    let deadline = Instant::now() + PATIENCE;
    let prover = provers(&worker)[0];
    worker.signal(Signal::KILL);
    let folder = format!("/proc/{}", prover.as_raw_nonzero());
    while Path::new(&folder).exists() {
        assert!(Instant::now() < deadline, "the prover outlived its worker");
        thread::sleep(Duration::from_millis(10));
    }
}

/// One worker is restarted in a loop and dies of every shard. The other worker is honest and slow.
#[test]
fn a_worker_that_crashes_in_a_loop_fails_no_proof() {
    let (a, _honest) = worker("honest", 2000);
    let b = free_address();
    let orchestrator = {
        let _first = worker_at(b, "looper", 50, &["--manner", "die"]);
        orchestrator(&[a, b], &["--shards", "4"])
    };
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let looper = thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut looper = worker_at(b, "looper", 50, &["--manner", "die"]);
                while looper.child.try_wait().unwrap().is_none() && !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    });
    let orchestrator = check_proven(orchestrator);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    looper.join().unwrap();
    // While the other worker is there, no shard goes to the crashing worker twice.
    assert!(orchestrator.output.count("lost looper") >= 2, "{}", orchestrator.output.all());
}

#[test]
fn a_shard_that_is_too_large_for_one_worker_goes_to_a_larger_one() {
    let (a, b) = (free_address(), free_address());
    // The larger worker is connected when the first attempt fails.
    let _small = worker_at(a, "small", 1500, &["--manner", "out-of-memory", "--memory-bytes", "1000000000"]);
    let _large = worker_at(b, "large", 300, &["--memory-bytes", "2000000000"]);
    check_proven(orchestrator(&[a, b], &["--shards", "6"]));
}

#[test]
fn a_worker_that_exits_on_every_shard_fails_no_proof() {
    let (a, honest) = worker("honest", 100);
    let address = free_address();
    let bad = worker_at(address, "bad", 20, &["--manner", "die"]);
    check_proven(orchestrator(&[a, address], &["--shards", "10"]));
    drop((honest, bad));
}

#[test]
fn a_shard_that_hangs_on_one_worker_is_done_by_another() {
    let (a, honest) = worker("honest", 200);
    let address = free_address();
    let hangs = worker_at(address, "hangs", 20, &["--manner", "hang"]);
    let orchestrator = check_proven(orchestrator(&[a, address], &["--shards", "12"]));
    assert_eq!(orchestrator.output.count("lost "), 0);
    drop((honest, hangs));
}

#[test]
fn a_poisoned_shard_ends_its_own_proof_alone_with_its_history() {
    let addresses = [free_address(), free_address(), free_address()];
    let poison = ["--manner", "fail", "--only", "7"];
    let workers = [("one", 0), ("two", 1), ("three", 2)]
        .map(|(name, at): (&str, usize)| worker_at(addresses[at], name, 50, &poison));
    // Shards are numbered from 0. The second proof has only 6 shards, so it does not contain shard 7.
    let short = orchestrator(&addresses, &["--shards", "12"]);
    let (_, failed) = short.wait_for("failed ", 1);
    assert_eq!(failed.matches("planted").count(), 3, "{failed}");
    for worker in ["w1", "w2", "w3"] {
        assert!(failed.contains(worker), "{worker} did not try: {failed}");
    }
    short.wait_for("left 0 attempts 0 artifacts", 1);
    drop(short);
    check_proven(orchestrator(&addresses, &["--shards", "6"]));
    drop(workers);
}

#[test]
fn a_first_attempt_that_fails_does_not_fail_the_proof() {
    let addresses = [free_address(), free_address()];
    let fails = worker_at(addresses[0], "fails", 50, &["--manner", "fail", "--only", "2"]);
    let honest = worker_at(addresses[1], "honest", 50, &[]);
    let orchestrator = check_proven(orchestrator(&addresses, &["--shards", "8"]));
    assert_eq!(orchestrator.output.count("failed"), 0);
    drop((fails, honest));
}

/// Checks a proof with `verify = final` and one of two workers that returns garbage.
#[track_caller]
fn check_unverified(more: &[&str]) {
    let addresses = [free_address(), free_address()];
    let lies = worker_at(addresses[0], "lies", 50, &["--manner", "garbage"]);
    let honest = worker_at(addresses[1], "honest", 50, &[]);
    let arguments = [&["--shards", "8", "--verify-final"], more].concat();
    let orchestrator = check_proven(orchestrator(&addresses, &arguments));
    assert_eq!(orchestrator.output.count("restarted"), 1);
    // The audit finds the worker by the parts that it had delivered. No further wrong result is needed.
    let found = orchestrator.errors.matching(|line| line.contains("worker sent a wrong result"));
    assert!(!found.is_empty() && found.iter().all(|(_, line)| line.contains("worker=lies")), "{found:?}");
    assert_eq!(orchestrator.errors.matching(|line| line.contains("was rejected")).len(), 0);
    drop((lies, honest));
}

#[test]
fn a_wrong_proof_from_unverified_results_is_proven_again_with_verification() {
    check_unverified(&[]);
}

#[test]
fn unverified_results_that_cannot_be_folded_are_proven_again_with_verification() {
    check_unverified(&["--folds"]);
}

#[test]
fn a_worker_that_claims_wrong_events_is_found_by_comparing_them() {
    let addresses = [free_address(), free_address(), free_address()];
    let lies = worker_at(addresses[0], "lies", 50, &["--manner", "events"]);
    let honest = [1, 2].map(|at| worker_at(addresses[at], "honest", 50, &[]));
    let orchestrator = check_proven(orchestrator(&addresses, &["--shards", "8", "--precompiles"]));
    assert_eq!(orchestrator.output.count("restarted"), 1);
    let found = orchestrator.errors.matching(|line| line.contains("worker made a wrong claim")).len();
    assert!(found > 0, "{}", orchestrator.errors.all());
    drop((lies, honest));
}

#[test]
fn two_workers_that_claim_different_events_fail_the_proof() {
    let addresses = [free_address(), free_address()];
    let lies = worker_at(addresses[0], "lies", 50, &["--manner", "events"]);
    let honest = worker_at(addresses[1], "honest", 50, &[]);
    let orchestrator = orchestrator(&addresses, &["--shards", "4", "--precompiles"]);
    let (_, failed) = orchestrator.wait_for("failed ", 1);
    assert!(failed.contains("no other worker confirmed the precompile events that it claims"), "{failed}");
    drop((lies, honest));
}

#[test]
fn a_drained_worker_finishes_and_leaves_the_rest_to_others() {
    let [(a, leaves), (b, stays)] = ["leaves", "stays"].map(|name| worker(name, 200));
    let mut orchestrator = orchestrator(&[a, b], &["--shards", "30"]);
    leaves.wait_for("ended ", 2);
    // The next shard has started, and the orchestrator knows it.
    thread::sleep(Duration::from_millis(100));
    orchestrator.send("drain leaves");
    let (drained, _) = orchestrator.wait_for("drained leaves", 1);
    orchestrator.send("drain missing");
    let (_, error) = orchestrator.wait_for("error ", 1);
    assert!(error.contains("missing") && error.contains("stays"), "{error}");
    thread::sleep(Duration::from_secs(1));
    // Shards that the worker had started before it was drained are not counted.
    let later = leaves.output.matching(|line| line.starts_with("started ")).into_iter().filter(|(at, _)| *at > drained);
    assert_eq!(later.count(), 0, "the drained worker started a shard: {}", leaves.output.all());
    let before = leaves.output.count("started ");
    orchestrator.send("resume leaves");
    leaves.wait_for("started ", before + 1);
    check_proven(orchestrator);
    check_once(&[&leaves, &stays], 30);
}

#[test]
fn no_shard_starts_after_a_cancel() {
    let [(a, one), (b, two)] = ["one", "two"].map(|name| worker(name, 300));
    let mut orchestrator = orchestrator(&[a, b], &["--shards", "40", "--batch", "4"]);
    orchestrator.wait_for("done ", 2);
    orchestrator.send("cancel");
    let (cancelled, line) = orchestrator.wait_for("failed ", 1);
    assert!(line.contains("cancelled"), "{line}");
    thread::sleep(Duration::from_secs(2));
    for worker in [&one, &two] {
        let late = worker.output.matching(|line| line.starts_with("started "));
        let late = late.into_iter().filter(|(at, _)| *at > cancelled + Duration::from_millis(300));
        assert_eq!(late.count(), 0, "{}", worker.output.all());
    }
}

#[test]
fn four_proofs_share_two_workers_and_none_starves() {
    let [(a, one), (b, two)] = ["one", "two"].map(|name| worker(name, 50));
    check_proven(orchestrator(&[a, b], &["--shards", "10", "--proofs", "4"]));
    drop((one, two));
}

/// Runs a proof with 60 records of 1 MiB each and only 16 MiB of memory for artifacts.
fn check_spill(folder: &Path, disk_bytes: &str) -> Process {
    let (a, worker) = worker("only", 10);
    let folder = folder.to_str().unwrap();
    let more = ["--shards", "60", "--record-bytes", "1048576", "--memory-bytes", "16777216"];
    let more = [&more[..], &["--disk-bytes", disk_bytes, "--spill-folder", folder]].concat();
    let orchestrator = orchestrator(&[a], &more);
    orchestrator.wait_for("left ", 1);
    drop(worker);
    orchestrator
}

#[test]
fn artifacts_beyond_the_memory_go_to_disk_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    check_proven(check_spill(folder.path(), "1073741824"));
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "artifacts are left on disk");
}

#[test]
fn a_full_store_fails_the_proof_at_once_and_reports_why() {
    let folder = tempfile::tempdir().unwrap();
    let orchestrator = check_spill(folder.path(), "4194304");
    let (_, failed) = orchestrator.wait_for("failed ", 1);
    assert!(failed.contains("there is no room for artifact re"), "{failed}");
    assert!(orchestrator.output.count("done ") < 60, "the proof failed only at its end");
}
