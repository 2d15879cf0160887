//! One machine that runs the units in `packaging/systemd` as they are: their `ExecStart` lines, with the files and
//! folders that systemd would give them. The ports and mounts of the units exist only in namespaces of the test.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The ports in the units: the HTTP interface, and the port where workers join.
const PORTS: [u16; 2] = [8090, 8091];

/// Variables of a program that systemd starts.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const HOME: &str = "/var/lib/sp1d";

/// Installs `sp1d` ($1), mounts the private folders of the unit ($2), and runs the rest of the arguments. All mounts
/// are in a mount namespace of its own. The system is read-only and homes are empty, as `ProtectSystem=strict` and
/// `ProtectHome=true` make them.
const AS_SYSTEMD: &str = r#"
set -e
program=$1 private=$2
shift 2
mount -t tmpfs tmpfs /usr/local/bin
: >/usr/local/bin/sp1d
mount --bind "$program" /usr/local/bin/sp1d
mount --bind "$private/lib" /var/lib
if [ -d /var/lib/sp1d ]; then mount --bind "$private/lib/sp1d" /var/lib/sp1d; fi
mount -o remount,bind,ro /var/lib
mount --bind "$private/tmp" /tmp
mount -o remount,bind,ro /
for home in /home /root; do
  if [ -d "$home" ]; then mount -t tmpfs -o ro tmpfs "$home"; fi
done
exec "$@"
"#;

/// The settings of a unit, in their order.
pub(crate) struct Unit {
    name: String,
    settings: Vec<(String, String)>,
}

impl Unit {
    /// Reads `packaging/systemd/NAME.service`.
    pub(crate) fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
        let text = fs::read_to_string(folder.join(format!("{name}.service"))).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
        let settings = lines.filter_map(|line| line.split_once('='));
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { name: name.to_owned(), settings }
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.settings.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn get<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or_else(|| panic!("the unit does not set {name}"))
    }

    /// Returns the value of a variable of the unit.
    #[track_caller]
    pub(crate) fn variable(&self, name: &str) -> &str {
        let found = self.all("Environment").find_map(|value| value.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("the unit does not set the variable {name}"))
    }

    /// Returns the words of `ExecStart`, with the values of the unit's variables.
    #[track_caller]
    fn command_line(&self) -> Vec<String> {
        let expanded = |word: &str| -> Vec<String> {
            let braced = word.strip_prefix("${").and_then(|word| word.strip_suffix('}'));
            // systemd splits the value of a variable without braces into words.
            let values = match (braced, word.strip_prefix('$')) {
                (Some(name), _) => vec![self.variable(name)],
                (None, Some(name)) => self.variable(name).split_whitespace().collect(),
                (None, None) => vec![word],
            };
            let is_plain = |value: &&str| !value.contains(['$', '%', '"', '\'', '\\']);
            assert!(values.iter().all(is_plain), "only systemd knows what {word} is");
            values.into_iter().map(str::to_owned).collect()
        };
        self.get("ExecStart").split(' ').flat_map(expanded).collect()
    }
}

/// A network namespace, in which the ports of the units are free. It ends when dropped.
struct Namespace {
    holder: Killed,
    has_user: bool,
}

impl Namespace {
    /// Returns a new namespace, or `None` if this system allows no network or mount namespaces.
    fn start() -> Option<Self> {
        let as_user = ["--user", "--map-root-user", "--net"];
        Self::with(&as_user, true).or_else(|| Self::with(&["--net"], false))
    }

    fn with(flags: &[&str], has_user: bool) -> Option<Self> {
        const HOLD: &str = "ip link set lo up && unshare --mount mount -t tmpfs tmpfs /usr/local/bin && echo ready && \
                            exec sleep 7200";
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", HOLD]);
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

/// Killed when dropped.
pub(crate) struct Killed(pub(crate) Child);

impl Killed {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Machine {
    folder: TempDir,
    namespace: Option<Namespace>,
    patience: Duration,
    /// The socket on which the program of each unit reports its states, by the unit's name.
    states: Mutex<BTreeMap<String, UnixDatagram>>,
}

impl Machine {
    /// Creates a machine whose conditions may take `patience`. Without namespaces, it uses the ports of this machine
    /// and other paths than the units.
    pub(crate) fn new(patience: Duration) -> Self {
        let namespace = Namespace::start();
        if namespace.is_none() {
            for port in PORTS {
                let free = TcpListener::bind(("127.0.0.1", port));
                assert!(free.is_ok(), "no namespaces are possible here, and the port {port} is in use");
            }
        }
        Self { folder: tempfile::tempdir().unwrap(), namespace, patience, states: Mutex::default() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns whether the programs run as root of a user namespace.
    #[allow(dead_code, reason = "only the fast test asks")]
    pub(crate) fn has_user(&self) -> bool {
        self.namespace.as_ref().is_some_and(|namespace| namespace.has_user)
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.log"))
    }

    /// Returns what the program of `unit` has logged since its last start.
    #[allow(dead_code, reason = "only the slow test reads it")]
    pub(crate) fn log_of(&self, unit: &Unit) -> String {
        fs::read_to_string(self.log_file(&unit.name)).unwrap_or_default()
    }

    /// Returns the logs of both units.
    pub(crate) fn logs(&self) -> String {
        ["sp1d-serve", "sp1d-worker"].map(|name| fs::read_to_string(self.log_file(name)).unwrap_or_default()).concat()
    }

    /// Starts the program of `unit`.
    pub(crate) fn start(&self, unit: &Unit) -> Killed {
        let private = self.folder().join(&unit.name);
        for folder in ["lib", "tmp", "etc"] {
            fs::create_dir_all(private.join(folder)).unwrap();
        }
        for state in unit.all("StateDirectory") {
            fs::create_dir_all(private.join("lib").join(state)).unwrap();
        }
        let (line, program) = (unit.command_line(), env!("CARGO_BIN_EXE_sp1d"));
        assert_eq!(line[0], "/usr/local/bin/sp1d");
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = namespace.command("unshare");
                command.args(["--mount", "sh", "-c", AS_SYSTEMD, "sh", program]).arg(&private).args(&line);
                command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", HOME);
                command
            }
            None => {
                let mut command = Command::new(program);
                let state = private.join("lib").display().to_string();
                command.args(line[1..].iter().map(|word| word.replace("/var/lib", &state)));
                command.env("TMPDIR", private.join("tmp"));
                without_settings(&mut command);
                command
            }
        };
        if unit.get("Type") == "notify" {
            let folder = if self.namespace.is_some() { PathBuf::from("/tmp") } else { private.join("tmp") };
            command.env("NOTIFY_SOCKET", folder.join("notify"));
            self.listen_for_states(unit, &private.join("tmp/notify"));
        }
        // Stands for /etc/sp1d, which the units name as their working directory.
        command.current_dir(private.join("etc")).stdin(Stdio::null()).stdout(Stdio::null());
        Killed(command.stderr(File::create(self.log_file(&unit.name)).unwrap()).spawn().unwrap())
    }

    /// Opens the socket on which the program of `unit` reports its states, as systemd does.
    fn listen_for_states(&self, unit: &Unit, path: &Path) {
        // An earlier start of the unit has left its socket.
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        self.states.lock().unwrap().insert(unit.name.clone(), socket);
    }

    /// Waits until the program of `unit` has reported `state`, a line of sd_notify(3). Returns at once if it has
    /// reported the state before.
    #[allow(dead_code, reason = "only the fast test asks")]
    #[track_caller]
    pub(crate) fn wait_for_state(&self, unit: &Unit, state: &str) {
        let states = self.states.lock().unwrap();
        let socket = &states[&unit.name];
        let mut message = [0; 4096];
        self.wait_for(&format!("{} has not reported {state}", unit.name), || {
            // An error means that no message has arrived.
            let length = socket.recv(&mut message).ok()?;
            let text = std::str::from_utf8(&message[..length]).unwrap();
            text.lines().any(|line| line == state).then_some(())
        });
    }

    /// Runs a command of the machine's user, who talks to the service.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let program = env!("CARGO_BIN_EXE_sp1d");
        let mut command = self.namespace.as_ref().map_or_else(|| Command::new(program), |found| found.command(program));
        without_settings(&mut command);
        command.args(arguments).current_dir(self.folder()).env("TMPDIR", self.folder()).stdin(Stdio::null());
        command.env("SP1_DISTRIBUTED_URL", format!("http://127.0.0.1:{}", PORTS[0])).output().unwrap()
    }

    /// Returns the states of all workers that the service lists.
    pub(crate) fn worker_states(&self) -> Vec<Value> {
        let listed = self.run(&["workers", "--json"]);
        let workers: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        workers.as_array().into_iter().flatten().map(|worker| worker["state"].clone()).collect()
    }

    /// Waits until `condition` returns a value.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(found) = condition() {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}: {}", self.logs());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the program has ended.
    #[track_caller]
    pub(crate) fn end_of(&self, process: &mut Killed) -> ExitStatus {
        self.wait_for("the program does not end", || process.0.try_wait().unwrap())
    }

    /// Stops the program of `unit` with SIGTERM, as systemd does, and checks that it succeeds well within the time that
    /// the unit gives it.
    #[track_caller]
    pub(crate) fn stop(&self, mut process: Killed, unit: &Unit) {
        let asked = Instant::now();
        process.signal(Signal::TERM);
        let status = self.end_of(&mut process);
        assert!(status.success(), "{status}: {}", self.logs());
        let limit = Duration::from_secs(unit.get("TimeoutStopSec").parse().unwrap());
        assert!(asked.elapsed() < limit / 2, "{:?}", asked.elapsed());
    }
}

fn without_settings(command: &mut Command) {
    for variable in ["SP1_DISTRIBUTED_WORKERS", "SP1_DISTRIBUTED_URL", "SP1D_LOG", "RUST_LOG"] {
        command.env_remove(variable);
    }
}
