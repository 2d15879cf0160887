//! `sp1d serve` and its clients. These tests prove nothing: the worker's engine never finishes a task.

use futures::StreamExt;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use sp1_distributed::{
    DistributedError, DistributedProver, Elf, ProofEvents, ProveRequest, Prover, ProverClient,
    SP1ProofWithPublicValues, SP1ProvingKey, SP1Stdin,
    distributed::{ProofEvent, ProofFailureKind},
};
use sp1d_testing::{FakeEngine, RunningWorker, free_address, ready};
use sp1d_worker::StartLock;
use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

mod collector;
mod refusal;

use collector::{Collector, attribute, text};
use refusal::check_refused;

const PATIENCE: Duration = Duration::from_secs(30);

fn guest(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/elf").join(name).display().to_string()
}

/// Lets a service with this state folder use the verifying keys of the user, as the clients in these tests do.
/// Otherwise each service would compute the key of each program again, which takes seconds of processor time.
fn share_keys(state: &Path) {
    let keys = sp1d_engine::default_key_folder().expect("the user has a home folder");
    fs::create_dir_all(&keys).unwrap();
    fs::create_dir(state).unwrap();
    symlink(keys, state.join("keys")).unwrap();
}

/// A running service.
struct Served {
    folder: TempDir,
    url: String,
    port: u16,
    process: Killed,
}

impl Served {
    fn start(workers: &[String]) -> Self {
        Self::start_with(workers, &[])
    }

    fn start_with(workers: &[String], more: &[&str]) -> Self {
        Self::start_with_list(&serde_json::to_string(workers).unwrap(), more)
    }

    fn start_with_list(list: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("distributed.json"), list).unwrap();
        Self::start_in(folder, more)
    }

    fn start_in(folder: TempDir, more: &[&str]) -> Self {
        share_keys(&folder.path().join("state"));
        let port = free_address().port();
        let process = spawn(folder.path(), port, more);
        let served = Self { folder, url: format!("http://127.0.0.1:{port}"), port, process };
        served.wait_until_serving();
        served
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("serve.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap()
    }

    fn wait_until_serving(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.get("/healthz").is_none() {
            assert!(Instant::now() < deadline, "{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns the response to a request, or `None` if it is not a success. To ask again and again, a connection costs
    /// much less processor time than a process of `sp1d`.
    fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).ok()?;
        let (head, body) = response.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200 ").then(|| serde_json::from_str(body).unwrap())
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.0.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    fn kill_and_start_again(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
        self.start_again();
    }

    fn start_again(&mut self) {
        self.process = spawn(self.folder.path(), self.port, &[]);
        self.wait_until_serving();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        sp1d(self.folder.path()).args(arguments).env("SP1_DISTRIBUTED_URL", &self.url).output().unwrap()
    }

    /// Runs a command that must succeed and returns its output.
    #[track_caller]
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", String::from_utf8_lossy(&output.stderr), self.log());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs a command again and again until its output contains `part`.
    #[track_caller]
    fn wait_to_say(&self, arguments: &[&str], part: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.says(arguments).contains(part) {
            assert!(Instant::now() < deadline, "{}", self.log());
            // Each command is a process, so asking without a pause would slow down what the test waits for.
            thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.says(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], code: i32, parts: &[&str]) {
        check_refused(&self.run(arguments), code, parts);
    }

    fn wait_for(&self, id: &str, wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = self.get("/v1/proofs?limit=100").unwrap_or_else(|| panic!("{}", self.log()));
            let proof = listed["proofs"].as_array().unwrap().iter().find(|proof| proof["id"] == *id).unwrap();
            if wanted(proof) {
                return;
            }
            assert!(Instant::now() < deadline, "{proof}: {}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sp1d(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sp1d"));
    command.current_dir(folder).env("TMPDIR", folder).stdin(Stdio::null());
    for variable in ["SP1_DISTRIBUTED_WORKERS", "SP1_DISTRIBUTED_URL", "SP1D_LOG", "RUST_LOG"] {
        command.env_remove(variable);
    }
    for (variable, _) in env::vars().filter(|(variable, _)| variable.starts_with("OTEL_")) {
        command.env_remove(variable);
    }
    command
}

fn spawn(folder: &Path, port: u16, more: &[&str]) -> Killed {
    Killed(serve(folder, port).args(more).spawn().unwrap())
}

fn serve(folder: &Path, port: u16) -> Command {
    let log = File::options().create(true).append(true).open(folder.join("serve.log")).unwrap();
    let mut command = sp1d(folder);
    command.args(["serve", "--state", "state", "--listen", &format!("127.0.0.1:{port}")]);
    command.stdout(Stdio::null()).stderr(log);
    command
}

/// Creates a folder in `parent` that looks as if a killed service had left it an hour ago.
fn leftover(parent: &Path) -> TempDir {
    let folder = tempfile::Builder::new().prefix("sp1d-spill-0-").tempdir_in(parent).unwrap();
    File::open(folder.path()).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    folder
}

/// Checks that a service with the default `spill_folder` uses `used` and not `unused`. A service removes what killed
/// services left in its own folder.
fn check_spill_folder(tmpdir: Option<&Path>, used: &Path, unused: &Path) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("distributed.json"), r#"["127.0.0.1:9"]"#).unwrap();
    let (removed, kept) = (leftover(used), leftover(unused));
    let mut command = serve(folder.path(), free_address().port());
    match tmpdir {
        Some(tmpdir) => command.env("TMPDIR", tmpdir),
        None => command.env_remove("TMPDIR"),
    };
    let _service = Killed(command.spawn().unwrap());
    let deadline = Instant::now() + PATIENCE;
    while removed.path().exists() {
        let log = fs::read_to_string(folder.path().join("serve.log")).unwrap();
        assert!(Instant::now() < deadline, "{} is not used: {log}", used.display());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(kept.path().exists(), "{} is used", unused.display());
}

#[test]
fn artifacts_go_to_the_users_tmpdir_or_to_var_tmp() {
    // For SP1, `sp1d` sets `TMPDIR` to this private folder. That must not change the other default.
    let private = sp1d_engine::private_temporary_folder(Path::new("/tmp")).unwrap();
    check_spill_folder(None, Path::new("/var/tmp"), &private);
    let own = tempfile::tempdir().unwrap();
    let private = sp1d_engine::private_temporary_folder(own.path()).unwrap();
    check_spill_folder(Some(own.path()), own.path(), &private);
}

/// Starts a worker of this build that never finishes a task.
async fn stuck_worker() -> RunningWorker {
    let engine = FakeEngine::doing(|_, _| std::future::pending());
    RunningWorker::start("stuck", ready(engine), |settings| settings.introduction.build = sp1d_engine::build_identity())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_survive_a_kill_and_can_be_listed_and_cancelled() {
    let worker = stuck_worker().await;
    let address = worker.address.to_string();
    let check = move || {
        let mut served = Served::start(std::slice::from_ref(&address));
        let elf = guest("fibonacci");
        let submit = ["submit", "--elf", &elf, "--input", "u32:1000"];
        let first = served.says(&submit);
        // Wait for an assignment before another proof takes the worker's slots.
        served.wait_to_say(&["logs", &first], "assigned to stuck");
        let key = ["--idempotency-key", "k", "--priority", "-5", "--mode", "compressed"];
        let second = served.says(&[&submit[..], &key].concat());
        assert_eq!(served.says(&[&submit[..], &key].concat()), second);

        let workers = served.json(&["workers"]);
        assert_eq!((&workers[0]["name"], &workers[0]["state"]), (&"stuck".into(), &"busy".into()));
        let table = served.says(&["workers"]);
        assert!(table.contains("stuck") && table.contains(&address), "{table}");
        let status = served.says(&["status"]);
        assert!(status.contains("2 running") && status.contains("1 connected, 1 ready"), "{status}");
        let logs = served.says(&["logs", &first]);
        assert!(logs.contains("accepted") && logs.contains("new task"), "{logs}");
        assert!(served.says(&["drain", "stuck"]).contains("no new ones"));
        assert!(served.says(&["resume", &address]).contains("gets tasks again"));

        served.refused(&["fetch", &first, "proof.bin"], 2, &[&first, "nothing to fetch"]);
        assert!(!served.folder.path().join("proof.bin").exists());
        served.refused(&["wait", &first, "--timeout", "1"], 5, &[&first, "it continues", "sp1d wait"]);
        served.refused(&["cancel", "abc"], 2, &["there is no proof abc"]);
        served.refused(&["delete", &first], 2, &["is running", "sp1d cancel"]);
        served.refused(&["proofs", "--state", "lost"], 2, &["lost"]);
        served.refused(&["drain", "unknown"], 2, &["unknown", "stuck"]);
        served.refused(&["submit", "--elf", "distributed.json"], 2, &["it is not an ELF file"]);

        served.kill_and_start_again();
        served.wait_for(&first, |proof| proof["starts"] == 2 && proof["state"] == "running");
        assert!(served.says(&["cancel", &first]).contains("being cancelled"));
        served.wait_for(&first, |proof| proof["state"] == "cancelled");
        served.refused(&["wait", &first], 130, &["was cancelled"]);
        let logs = served.says(&["logs", &first, "--follow"]);
        assert!(logs.contains("started again (start 2)") && logs.ends_with("cancelled"), "{logs}");
        assert_eq!(served.says(&["logs", &first]), logs);
        // A waiting client learns that the proof was cancelled.
        let mut waiting = sp1d(served.folder.path());
        waiting.args(["wait", &second]).env("SP1_DISTRIBUTED_URL", &served.url);
        let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::from_millis(500));
        served.says(&["cancel", &second]);
        check_refused(&waiting.wait_with_output().unwrap(), 130, &["was cancelled"]);

        assert!(served.says(&["delete", &first]).contains("are deleted"));
        assert!(served.says(&["delete", &first]).contains("nothing to delete"));
        served.refused(&["logs", &first], 2, &["there is no proof"]);
        // Executors inherit this limit from the service, and provers from the worker.
        let limits = fs::read_to_string(format!("/proc/{}/limits", served.process.0.id())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert!(["0", "1"].contains(&core.split_ascii_whitespace().nth(4).unwrap()), "{core}");

        // On SIGHUP the service only reads the worker list again.
        fs::write(served.folder.path().join("distributed.json"), "[").unwrap();
        served.signal(Signal::HUP);
        served.wait_to_say(&["workers"], "was not reloaded");

        fs::write(served.folder.path().join("distributed.json"), serde_json::to_string(&[&address]).unwrap()).unwrap();

        let other = sp1d(served.folder.path())
            .args(["serve", "--state", "state", "--listen"])
            .arg(free_address().to_string())
            .output();
        check_refused(&other.unwrap(), 2, &["in use by process", &served.process.0.id().to_string()]);
        let taken = format!("127.0.0.1:{}", served.port);
        let other = sp1d(served.folder.path()).args(["serve", "--state", "other", "--listen", &taken]).output();
        check_refused(&other.unwrap(), 2, &["cannot listen", &taken]);
        stop(&mut served);
    };
    tokio::task::spawn_blocking(check).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_list_that_is_added_later_is_used() {
    let worker = stuck_worker().await;
    let address = worker.address.to_string();
    let check = move || {
        let (folder, join) = (tempfile::tempdir().unwrap(), free_address().to_string());
        let mut served = Served::start_in(folder, &["--join-listen", &join, "--join-from", "127.0.0.1"]);
        let list = serde_json::to_string(&[&address]).unwrap();
        fs::write(served.folder.path().join("distributed.json"), list).unwrap();
        served.wait_to_say(&["workers"], &address);
        stop(&mut served);
        assert!(!served.log().contains("cannot read the worker list"), "{}", served.log());
    };
    tokio::task::spawn_blocking(check).await.unwrap();
}

/// Cleaners of temporary folders remove files that were not used for ten days.
#[tokio::test(flavor = "multi_thread")]
async fn the_executor_of_a_service_is_written_again_when_its_file_is_gone() {
    let worker = stuck_worker().await;
    let address = worker.address.to_string();
    let check = move || {
        let mut served = Served::start_with(&[address], &["--parallel-proofs", "2"]);
        let elf = guest("fibonacci");
        let has_tasks = |proof: &Value| {
            assert_ne!(proof["state"], "failed", "{proof}");
            proof["tasks"]["known"].as_u64() > Some(0)
        };
        let first = served.says(&["submit", "--elf", &elf, "--input", "u32:1000"]);
        served.wait_for(&first, has_tasks);
        let folder = served.folder.path().join(format!("sp1d-{}", rustix::process::geteuid().as_raw()));
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let is_helper = |path: &PathBuf| path.to_string_lossy().contains("sp1-native-runner-bin-");
        let helpers: Vec<PathBuf> = files.filter(is_helper).collect();
        assert_eq!(helpers.len(), 1, "{helpers:?}");
        fs::remove_file(&helpers[0]).unwrap();
        let second = served.says(&["submit", "--elf", &elf, "--input", "u32:2000"]);
        served.wait_for(&second, has_tasks);
        assert!(helpers[0].exists() && served.log().contains("written again"), "{}", served.log());
        stop(&mut served);
    };
    tokio::task::spawn_blocking(check).await.unwrap();
}

/// Stops the service with SIGTERM, as a service manager does, and checks that it shuts down cleanly.
fn stop(served: &mut Served) {
    served.signal(Signal::TERM);
    let log = served.log_file();
    end_of(&mut served.process, &log);
    assert!(served.log().contains(" stopped\n"), "{}", served.log());
}

/// Waits until `process`, which writes to `log`, has ended.
#[track_caller]
fn end_of(process: &mut Killed, log: &Path) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = process.0.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "{}", fs::read_to_string(log).unwrap());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Sends `first` to `process`, which cannot stop now, waits until its log says how to stop it at once, and sends
/// `second`.
#[track_caller]
fn stop_at_once(process: &mut Killed, [first, second]: [Signal; 2], log: &Path) {
    let read = || fs::read_to_string(log).unwrap();
    let hints = || read().matches("stopping; send the signal again to stop at once").count();
    let (id, before) = (Pid::from_child(&process.0), hints());
    kill_process(id, first).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while hints() == before {
        assert!(Instant::now() < deadline, "{}", read());
        thread::sleep(Duration::from_millis(10));
    }
    assert!(process.0.try_wait().unwrap().is_none(), "the first signal was enough: {}", read());
    kill_process(id, second).unwrap();
    assert_eq!(end_of(process, log).code(), Some(130), "{}", read());
    assert!(!read().contains(" stopped\n"), "{}", read());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_a_service_at_once_and_its_proof_continues_later() {
    let worker = stuck_worker().await;
    let address = worker.address.to_string();
    let check = move || {
        let mut served = Served::start(&[address]);
        let id = served.says(&["submit", "--elf", &guest("fibonacci"), "--input", "u32:1000"]);
        let runs = |starts: u64| move |proof: &Value| proof["starts"] == starts && proof["state"] == "running";
        for (starts, second) in [(1, Signal::TERM), (2, Signal::INT)] {
            served.wait_for(&id, runs(starts));
            // While another program has locked the database, the service tries for seconds to put back its proof.
            let other = Connection::open(served.folder.path().join("state/service.db")).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            let log = served.log_file();
            stop_at_once(&mut served.process, [Signal::TERM, second], &log);
            drop(other);
            served.start_again();
        }
        served.wait_for(&id, runs(3));
        stop(&mut served);
    };
    tokio::task::spawn_blocking(check).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_a_worker_at_once() {
    // A worker waits for this lock before it loads its prover, which takes gigabytes.
    let lock = StartLock::take(&StartLock::default_path(), || {}).await;
    let check = || {
        let join = free_address().to_string();
        // A worker that leaves waits for the end of its session, which a frozen service does not end. The worker would
        // notice that after ten minutes.
        let list = r#"{"workers": ["127.0.0.1:1"], "missed_heartbeats": 600}"#;
        let served = Served::start_with_list(list, &["--join-listen", &join, "--join-from", "127.0.0.1"]);
        for (name, second) in [("first", Signal::TERM), ("second", Signal::INT)] {
            let log = served.folder.path().join(format!("{name}.log"));
            let mut command = sp1d(served.folder.path());
            command.args(["worker", "--join", &join, "--name", name, "--wait-memory"]).stdout(Stdio::null());
            let mut worker = Killed(command.stderr(File::create(&log).unwrap()).spawn().unwrap());
            let is_listed = |listed: &Value| listed["name"] == name && listed["state"] == "starting";
            let deadline = Instant::now() + PATIENCE;
            let workers = || served.get("/v1/workers").unwrap_or_default()["workers"].clone();
            while !workers().as_array().into_iter().flatten().any(is_listed) {
                assert!(Instant::now() < deadline, "{}{}", served.log(), fs::read_to_string(&log).unwrap());
                thread::sleep(Duration::from_millis(50));
            }
            served.signal(Signal::STOP);
            // All threads of the service are frozen once the system reports it.
            waitpid(Some(Pid::from_child(&served.process.0)), WaitOptions::UNTRACED).unwrap();
            stop_at_once(&mut worker, [Signal::TERM, second], &log);
            served.signal(Signal::CONT);
        }
    };
    tokio::task::spawn_blocking(check).await.unwrap();
    drop(lock);
}

/// Waits until `found` returns a value.
async fn eventually<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_log_lines_and_a_trace_of_each_proof() {
    let (worker, collector) = (stuck_worker().await, Collector::start().await);
    let endpoint = format!("http://{}", collector.address);
    let mut served = Served::start_with(&[worker.address.to_string()], &["--otlp", &endpoint]);
    let id = served.says(&["submit", "--elf", &guest("panic"), "--input", "u32:42"]);
    let root = eventually("no trace arrives", || collector.spans().into_iter().find(|span| span.name == "proof")).await;
    assert_eq!(attribute(&root.attributes, "sp1d.proof.id").unwrap(), id);
    assert_eq!(attribute(&root.attributes, "sp1d.proof.state").unwrap(), "failed");
    let status = root.status.as_ref().unwrap();
    assert!(status.message.contains("asked to panic: 42"), "{status:?}");
    let execution = eventually("no span of the execution arrives", || {
        collector.spans().into_iter().find(|span| span.name == "execution")
    })
    .await;
    assert_eq!((&execution.trace_id, &execution.parent_span_id), (&root.trace_id, &root.span_id));
    assert!(execution.start_time_unix_nano >= root.start_time_unix_nano);
    assert!(execution.end_time_unix_nano <= root.end_time_unix_nano, "{execution:?} {root:?}");
    let of_proof = |name: &str| {
        let lines = collector.lines().into_iter();
        let found = lines.filter(|line| attribute(&line.attributes, "proof_id").as_ref() == Some(&id));
        found.map(|line| text(line.body.as_ref())).find(|line| line == name)
    };
    eventually("a log line is missing", || of_proof("proof started")).await;
    assert!(collector.services().iter().all(|service| service == "sp1d"), "{:?}", collector.services());
    stop(&mut served);
    // The last log lines were sent too.
    assert!(collector.lines().iter().any(|line| text(line.body.as_ref()) == "stopped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_nothing() {
    let worker = stuck_worker().await;
    // Nothing listens on this port.
    let mut served = Served::start_with(&[worker.address.to_string()], &["--otlp", "http://127.0.0.1:9"]);
    let id = served.says(&["submit", "--elf", &guest("panic"), "--input", "u32:42"]);
    served.wait_for(&id, |proof| proof["state"] == "failed");
    let told = |log: &str| log.matches("the collector does not accept it kind=\"log lines\"").count();
    eventually("the collector's failure is not logged", || (told(&served.log()) > 0).then_some(())).await;
    let began = Instant::now();
    stop(&mut served);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let log = served.log();
    assert!(told(&log) == 1 && !log.contains("ERROR"), "{log}");
}

#[test]
fn an_unsupported_collector_address_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["worker", "--listen", "127.0.0.1:9", "--orchestrator", "any", "--otlp", "https://collector:4317"];
    check_refused(&sp1d(folder.path()).args(arguments).output().unwrap(), 2, &["--otlp", "https://collector:4317"]);
}

#[test]
fn top_needs_a_terminal_or_json_output() {
    let served = Served::start(&["127.0.0.1:9".to_owned()]);
    served.refused(&["top"], 2, &["a terminal", "sp1d status", "--json"]);
    let mut top = sp1d(served.folder.path());
    top.args(["top", "--json"]).env("SP1_DISTRIBUTED_URL", &served.url).stdout(Stdio::piped());
    let mut top = Killed(top.spawn().unwrap());
    let lines = BufReader::new(top.0.stdout.take().unwrap()).lines();
    // One line per second.
    let mut seen = lines.take(20).map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    assert!(seen.any(|seen| seen["workers"][0]["state"] == "disconnected" && seen["health"]["workers"] == 0));
}

#[test]
fn completions_and_manual_pages_are_generated() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = sp1d(folder.path()).args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(script.contains("submit") && script.contains("--join-listen"), "{shell}");
    }
    assert!(sp1d(folder.path()).args(["man", "pages"]).output().unwrap().status.success());
    let page = fs::read_to_string(folder.path().join("pages/sp1d-serve.1")).unwrap();
    assert!(page.contains("state"), "{page}");
    assert!(folder.path().join("pages/sp1d.1").exists());
    let output = sp1d(folder.path()).args(["man", "/proc/none"]).output().unwrap();
    check_refused(&output, 2, &["/proc/none"]);
}

#[test]
fn an_unreachable_service_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| sp1d(folder.path()).args(arguments).output().unwrap();
    // Nothing listens on this port, and it is never chosen as a free port by other tests.
    let url = "http://127.0.0.1:9";
    check_refused(&run(&["status", "--url", url]), 4, &[url, "cannot reach the service"]);
    check_refused(&run(&["status", "--url", "localhost"]), 2, &["localhost", "http://HOST:PORT"]);
    check_refused(&run(&["serve", "--state", "state"]), 2, &["distributed.json"]);
    assert!(!PathBuf::from(folder.path()).join("state").exists(), "an invalid start created the state folder");
}

async fn through(url: &str) -> DistributedProver {
    ProverClient::builder().distributed().url(url).build().await
}

fn elf(name: &str) -> Elf {
    Elf::Dynamic(fs::read(guest(name)).unwrap().into())
}

type Proven = Result<SP1ProofWithPublicValues, DistributedError>;

/// Starts a proof in another tokio task and returns when a worker got one of its tasks. Returns the pending proof and
/// its further events.
async fn begin(client: &DistributedProver, key: &SP1ProvingKey, stdin: SP1Stdin) -> (JoinHandle<Proven>, ProofEvents) {
    let (client, key) = (client.clone(), key.clone());
    let (sender, receiver) = oneshot::channel();
    let proving = tokio::spawn(async move {
        let (request, events) = client.prove(&key, stdin).with_events();
        let _ = sender.send(events);
        request.await
    });
    let mut events = receiver.await.unwrap();
    while !matches!(events.next().await, Some(ProofEvent::Assigned(_))) {}
    (proving, events)
}

/// Returns the kind and the text of the failure of a proof of `program`.
async fn failure(client: &DistributedProver, program: &str, stdin: SP1Stdin) -> (ProofFailureKind, String) {
    let key = client.setup(elf(program)).await.unwrap();
    match client.prove(&key, stdin).await.unwrap_err() {
        DistributedError::Remote { failure, .. } => (failure.kind, failure.text),
        error => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programs_proof_survives_a_restart_of_the_service() {
    let worker = stuck_worker().await;
    let mut served = Served::start(&[worker.address.to_string()]);
    let client = through(&served.url).await;
    client.connect().await.unwrap();

    // The program's own failure is returned with its last words.
    let mut stdin = SP1Stdin::new();
    stdin.write(&42_u32);
    let (kind, text) = failure(&client, "panic", stdin).await;
    assert_eq!(kind, ProofFailureKind::Program);
    assert!(text.contains("asked to panic: 42"), "{text}");

    // A pending proof survives a restart of the service, and ends when it is cancelled there.
    let key = client.setup(elf("fibonacci")).await.unwrap();
    let mut stdin = SP1Stdin::new();
    stdin.write(&1000_u32);
    let (proving, _events) = begin(&client, &key, stdin.clone()).await;
    let id = served.json(&["proofs", "--state", "running"])[0]["id"].as_str().unwrap().to_owned();
    served.kill_and_start_again();
    served.wait_for(&id, |proof| proof["state"] == "running" && proof["starts"] == 2);
    served.says(&["cancel", &id]);
    match proving.await.unwrap().unwrap_err() {
        DistributedError::Remote { proof, failure } => {
            assert_eq!((proof, failure.kind), (id, ProofFailureKind::Cancelled));
        }
        error => panic!("{error:?}"),
    }

    // A proof is cancelled when its request is dropped.
    let (proving, _events) = begin(&client, &key, stdin).await;
    let id = served.json(&["proofs", "--state", "running"])[0]["id"].as_str().unwrap().to_owned();
    proving.abort();
    served.wait_for(&id, |proof| proof["state"] == "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_reports_an_unreachable_service() {
    let url = format!("http://{}", free_address());
    let error = through(&url).await.connect().await.unwrap_err().to_string();
    assert!(error.contains(&url) && error.contains("cannot reach the service"), "{error}");
    let error = through("ftp://somewhere").await.connect().await.unwrap_err().to_string();
    assert!(error.contains("url") && error.contains("http://HOST:PORT"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_program_finds_its_proof_again() {
    let worker = stuck_worker().await;
    let served = Served::start(&[worker.address.to_string()]);
    let first = through(&served.url).await;
    let key = first.setup(elf("fibonacci")).await.unwrap();
    let mut stdin = SP1Stdin::new();
    stdin.write(&1000_u32);
    // The id is known before the proof ends, and the proof outlives its client.
    let asked = first.prove(&key, stdin.clone()).idempotency_key("block 7").request().await.unwrap();
    let id = asked.id().to_owned();
    drop((asked, first));
    served.wait_for(&id, |proof| proof["state"] == "running");

    // An identical request joins the proof. Another request with the same key is refused, with the difference.
    let second = through(&served.url).await;
    let again = second.prove(&key, stdin.clone()).idempotency_key("block 7").request().await.unwrap();
    assert_eq!(again.id(), id);
    let other = second.prove(&key, stdin.clone()).compressed().idempotency_key("block 7").request().await;
    let text = other.unwrap_err().to_string();
    assert!(text.contains(&format!("proof {id} with another mode")) && text.contains("\nhint: "), "{text}");

    // A joined proof continues without a client that waits for it.
    let joined = second.prove(&key, stdin).idempotency_key("block 7");
    assert!(tokio::time::timeout(Duration::from_secs(1), joined).await.is_err());
    let found = second.requested_proof(&id, &key);
    match found.wait(Some(Duration::from_secs(1))).await.unwrap_err() {
        DistributedError::StillRunning { proof, .. } => assert_eq!(proof, id),
        error => panic!("{error:?}"),
    }

    let panic_key = second.setup(elf("panic")).await.unwrap();
    let error = second.requested_proof(&id, &panic_key).wait(None).await.unwrap_err();
    assert!(matches!(error, DistributedError::OtherProgram { .. }), "{error:?}");
    let error = second.requested_proof("abc", &key).wait(None).await.unwrap_err().to_string();
    assert!(error.contains("no proof abc"), "{error}");

    // Every client that waits for the proof gets its outcome.
    found.cancel().await.unwrap();
    let blocking = sp1_distributed::blocking::ProverClient::builder().distributed().url(&served.url).build();
    for outcome in [again.wait(None).await, blocking.requested_proof(&id, &key).wait(None)] {
        match outcome.unwrap_err() {
            DistributedError::Remote { proof, failure } => {
                assert_eq!((proof.as_str(), failure.kind), (id.as_str(), ProofFailureKind::Cancelled));
            }
            error => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_service_makes_proofs_without_a_waiting_program() {
    let client = ProverClient::builder().distributed().workers(["127.0.0.1:9"]).build().await;
    let key = client.setup(elf("fibonacci")).await.unwrap();
    for error in [
        client.prove(&key, SP1Stdin::new()).request().await.map(drop).unwrap_err(),
        client.requested_proof("abc", &key).wait(None).await.map(drop).unwrap_err(),
        client.requested_proof("abc", &key).cancel().await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains("only a service can") && text.contains("SP1_DISTRIBUTED_URL"), "{text}");
    }
}
