//! The units in `packaging/systemd`: their programs start as the units say, find each other, and stop in time. No
//! prover is loaded.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sp1d_worker::StartLock;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// The ports in the units: the HTTP interface, and the port where workers join.
const PORTS: [u16; 2] = [8090, 8091];

/// The settings of a unit, in their order.
struct Unit(Vec<(String, String)>);

impl Unit {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd").join(name);
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
        let settings = lines.filter_map(|line| line.split_once('='));
        Self(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    fn get<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or_else(|| panic!("the unit does not set {name}"))
    }

    /// Returns the value of a variable of the unit.
    #[track_caller]
    fn variable(&self, name: &str) -> &str {
        let found = self.all("Environment").find_map(|value| value.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("the unit does not set the variable {name}"))
    }

    /// Returns the arguments of the unit's program, with the state folder in `folder`.
    fn arguments(&self, folder: &Path) -> Vec<String> {
        let mut words = self.get("ExecStart").split(' ');
        assert_eq!(words.next(), Some("/usr/local/bin/sp1d"));
        let expanded = words.map(|word| match word.strip_prefix("${").and_then(|word| word.strip_suffix('}')) {
            Some(name) => self.variable(name).to_owned(),
            None => word.replace("/var/lib/sp1d", &folder.join("state").display().to_string()),
        });
        expanded.collect()
    }
}

/// A network namespace, in which the ports of the units are free. It ends when dropped.
struct Namespace {
    holder: Killed,
    has_user: bool,
}

impl Namespace {
    /// Returns a new namespace, or `None` if this system does not allow it.
    fn start() -> Option<Self> {
        let as_user = ["--user", "--map-root-user", "--net"];
        Self::with(&as_user, true).or_else(|| Self::with(&["--net"], false))
    }

    fn with(flags: &[&str], has_user: bool) -> Option<Self> {
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", "ip link set lo up && echo ready && exec sleep 600"]);
        let mut holder = Killed(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?);
        let mut line = String::new();
        BufReader::new(holder.0.stdout.take()?).read_line(&mut line).ok()?;
        (line.trim() == "ready").then_some(Self { holder, has_user })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        if self.has_user {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--net", "--target", &self.holder.0.id().to_string(), "--", program]);
        command
    }
}

/// Returns the start lock of workers in `namespace`, where this user may be root.
fn start_lock(namespace: Option<&Namespace>) -> PathBuf {
    let own = StartLock::default_path();
    if !namespace.is_some_and(|namespace| namespace.has_user) {
        return own;
    }
    own.parent().unwrap().with_file_name("sp1d-start-0").join("lock")
}

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `sp1d` in `folder`, and in `namespace` if there is one.
fn sp1d(folder: &Path, namespace: Option<&Namespace>) -> Command {
    let program = env!("CARGO_BIN_EXE_sp1d");
    let mut command = namespace.map_or_else(|| Command::new(program), |namespace| namespace.command(program));
    command.current_dir(folder).env("TMPDIR", folder).stdin(Stdio::null());
    for variable in ["SP1_DISTRIBUTED_WORKERS", "SP1_DISTRIBUTED_URL", "SP1D_LOG", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command
}

fn log_of(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// Waits until `condition` holds. Then returns what it found.
#[track_caller]
fn wait_for<T>(what: impl Fn() -> String, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "{}", what());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Stops a program with SIGTERM, as systemd does, and checks that it ends well within the time of its unit.
#[track_caller]
fn stop(mut process: Killed, unit: &Unit, log: impl Fn() -> String) {
    let asked = Instant::now();
    kill_process(Pid::from_child(&process.0), Signal::TERM).unwrap();
    let status = wait_for(&log, || process.0.try_wait().unwrap());
    assert!(status.success(), "{status}: {}", log());
    let limit = Duration::from_secs(unit.get("TimeoutStopSec").parse().unwrap());
    assert!(asked.elapsed() < limit / 2, "{:?}", asked.elapsed());
}

#[test]
fn the_units_as_they_are_meet_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let namespace = Namespace::start();
    if namespace.is_none() {
        // The test runs without it if the units' ports are free.
        for port in PORTS {
            let free = TcpListener::bind(("127.0.0.1", port));
            assert!(free.is_ok(), "no network namespace is possible here, and the port {port} is in use");
        }
    }
    let run = |arguments: &[&str]| -> Output {
        let mut command = sp1d(folder, namespace.as_ref());
        command.args(arguments).env("SP1_DISTRIBUTED_URL", "http://127.0.0.1:8090").output().unwrap()
    };
    let start = |unit: &Unit, log: &str| {
        let mut command = sp1d(folder, namespace.as_ref());
        let log = File::create(folder.join(log)).unwrap();
        Killed(command.args(unit.arguments(folder)).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    };
    // A worker waits for this lock before it loads its prover, which takes gigabytes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lock = runtime.block_on(StartLock::take(&start_lock(namespace.as_ref()), || {}));
    assert!(lock.is_held());
    let [serve, worker] = ["sp1d-serve.service", "sp1d-worker.service"].map(Unit::read);
    let logs = || format!("{}{}", log_of(folder, "serve.log"), log_of(folder, "worker.log"));
    let serving = start(&serve, "serve.log");
    wait_for(logs, || run(&["status"]).status.success().then_some(()));
    let working = start(&worker, "worker.log");
    let states = || -> Vec<Value> {
        let listed = run(&["workers", "--json"]);
        let workers: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        workers.as_array().into_iter().flatten().map(|worker| worker["state"].clone()).collect()
    };
    wait_for(logs, || (states() == ["starting"]).then_some(()));
    stop(working, &worker, logs);
    // A worker that leaves is not expected back.
    wait_for(logs, || states().is_empty().then_some(()));
    stop(serving, &serve, logs);
    drop(lock);
}

#[test]
fn the_units_keep_their_programs_running_and_give_them_time_to_stop() {
    let [serve, worker] = ["sp1d-serve.service", "sp1d-worker.service"].map(Unit::read);
    for unit in [&serve, &worker] {
        let expected = [
            ("Wants", "network-online.target"),
            ("StartLimitIntervalSec", "0"),
            ("Restart", "always"),
            // The provers and the executors must not get SIGTERM: their parent process still needs them.
            ("KillMode", "mixed"),
            ("OOMPolicy", "continue"),
            ("UMask", "0077"),
            ("PrivateTmp", "true"),
        ];
        for (name, value) in expected {
            assert_eq!(unit.get(name), value, "{name}");
        }
        assert!(unit.get("After").contains("network-online.target"));
        assert_eq!(unit.all("KillSignal").count(), 0, "the default is SIGTERM");
    }
    assert_eq!(serve.get("StateDirectoryMode"), "0700");
    assert!(worker.get("After").contains("sp1d-serve.service"));
    assert_eq!(worker.variable("SP1D_JOIN"), serve.variable("SP1D_JOIN_LISTEN"));
    let words: Vec<&str> = worker.get("ExecStart").split(' ').collect();
    let grace: u64 = words[words.iter().position(|word| *word == "--grace").unwrap() + 1].parse().unwrap();
    // Ending the provers and giving back their memory takes seconds.
    assert!(worker.get("TimeoutStopSec").parse::<u64>().unwrap() >= grace + 30);
}
