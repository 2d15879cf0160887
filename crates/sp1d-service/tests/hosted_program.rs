//! An unmodified program on sp1-sdk from the registry, in processes of its own, and a service in another process. The
//! service's worker and runner prove nothing. `./x test` builds the program and runs this test.
//!
//! All calls are those of sp1-sdk. Only the proof is a fake: the program fetches and decodes it, and must then say that
//! it does not verify.

use rustix::process::{Pid, Signal, kill_process};
use sp1d_model::TaskKind;
use sp1d_testing::{FakeEngine, HostedProgram, RunningWorker, do_honestly, free_address, ready};
use sp1d_worker::Capabilities;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard, watch},
    time::{sleep, timeout},
};

/// Longest wait for anything. A run of the program takes seconds, most of them for the verifying key.
const PATIENCE: Duration = Duration::from_secs(120);

/// A worker that proves nothing, and has no circuit for PLONK.
struct GatedWorker {
    worker: RunningWorker,
    /// No attempt ends while a test holds it.
    gate: Arc<Mutex<()>>,
    /// Number of attempts that have started.
    started: watch::Receiver<u64>,
}

impl GatedWorker {
    async fn start(circuits: &str) -> Self {
        let (gate, (counter, started)) = (Arc::new(Mutex::new(())), watch::channel(0));
        let (of_attempts, counter) = (gate.clone(), Arc::new(counter));
        let engine = FakeEngine::doing(move |assignment, io| {
            let (gate, counter) = (of_attempts.clone(), counter.clone());
            async move {
                counter.send_modify(|started| *started += 1);
                let _open = gate.lock().await;
                do_honestly(&assignment, &*io).await
            }
        });
        let worker = RunningWorker::start("one", ready(engine), |settings| {
            let introduction = &mut settings.introduction;
            introduction.build.circuit_version = circuits.to_owned();
            introduction.capabilities = Capabilities::all().without(TaskKind::PlonkWrap, "no circuit");
        })
        .await;
        Self { worker, gate, started }
    }

    /// Closes the gate, until the returned value is dropped.
    async fn close(&mut self) -> OwnedMutexGuard<()> {
        let closed = self.gate.clone().lock_owned().await;
        self.started.mark_unchanged();
        closed
    }

    /// Waits until an attempt has started since the gate was closed.
    async fn wait_for_attempt(&mut self) {
        timeout(PATIENCE, self.started.changed()).await.expect("an attempt starts").unwrap();
    }
}

/// How to start the service, each time with the same state and at the same address.
struct FakeServeCommand {
    folder: PathBuf,
    worker: SocketAddr,
    variables: [(&'static str, String); 3],
}

impl FakeServeCommand {
    /// Starts the service and waits until it listens.
    fn start(&self) -> FakeServe {
        // Cargo builds the example together with this test, in the folder next to it.
        let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/fake_serve");
        let log = self.folder.join("log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(program);
        command.arg(self.folder.join("state")).arg(self.worker.to_string()).envs(self.variables.clone());
        command.env("HOSTED_SIGNERS", self.folder.join("signers")).env("FREE_BYTES", "0").env("LOG", "info");
        let mut process = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let service = FakeServe(process);
        let is_serving = lines.any(|line| line.starts_with("serving "));
        assert!(is_serving, "{}", fs::read_to_string(&log).unwrap());
        service
    }
}

/// A service process. Killed when dropped.
struct FakeServe(Child);

impl FakeServe {
    /// Stops the service as `systemctl stop` does.
    async fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the service does not stop");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for FakeServe {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the program to its end. It signs with `key`.
async fn run_with(program: HostedProgram, key: &str, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(program.command(key, arguments));
    let ended = timeout(PATIENCE, command.kill_on_drop(true).output()).await;
    ended.unwrap_or_else(|_| panic!("the program does not end: {arguments:?}")).unwrap()
}

async fn run(program: HostedProgram, arguments: &[&str]) -> Output {
    run_with(program, HostedProgram::KEY, arguments).await
}

/// Returns what the program says about itself: the text after `name`.
#[track_caller]
fn described(output: &Output, name: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("`{name}` is not in {output:?}")).to_owned()
}

/// Checks that the program has fetched and decoded a proof of this `kind`, which does not verify.
#[track_caller]
fn check_fetched(output: &Output, kind: &str) {
    HostedProgram::check_failed(output, &format!("proof: {kind}\n"));
    HostedProgram::check_failed(output, "VersionMismatch");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("verified"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn program_on_plain_sp1_sdk_uses_the_service_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("signers"), HostedProgram::ADDRESS).unwrap();
    let program = HostedProgram(free_address());
    let facts = run(program, &["describe"]).await;
    let [key, circuits] = ["key", "circuits"].map(|name| described(&facts, name));
    let mut worker = GatedWorker::start(&circuits).await;
    let command = FakeServeCommand {
        folder: folder.path().to_owned(),
        worker: worker.worker.address,
        variables: [("HOSTED_LISTEN", program.0.to_string()), ("SDK_KEY", key), ("CIRCUITS", circuits)],
    };
    let service = command.start();

    check_fetched(&run(program, &["prove", "core", "1"]).await, "Core");
    check_fetched(&run(program, &["prove", "compressed", "2"]).await, "Compressed");

    // The service is killed while the proof runs. Another process waits for the proof.
    let closed = worker.close().await;
    let id = HostedProgram::requested(&run(program, &["request", "3"]).await);
    worker.wait_for_attempt().await;
    drop(service);
    let service = command.start();
    drop(closed);
    check_fetched(&run(program, &["wait", &id]).await, "Core");

    // The service is stopped and started again while the proof runs and the program waits for it.
    let closed = worker.close().await;
    let proving = tokio::spawn(run(program, &["prove", "core", "4"]));
    worker.wait_for_attempt().await;
    // The program asks for the state as soon as it has the id. If it has not yet done so, it repeats its calls.
    sleep(Duration::from_secs(1)).await;
    service.stop().await;
    let _service = command.start();
    assert!(!proving.is_finished(), "the program has not waited for its proof");
    drop(closed);
    check_fetched(&proving.await.unwrap(), "Core");

    let closed = worker.close().await;
    HostedProgram::check_failed(&run(program, &["timeout", "5"]).await, "Proof request 0x");
    drop(closed);
    let refused = run(program, &["prove", "plonk", "6"]).await;
    HostedProgram::check_failed(&refused, "no worker can make a proof of the mode plonk");
    let stranger = run_with(program, HostedProgram::OTHER_KEY, &["prove", "core", "7"]).await;
    HostedProgram::check_failed(&stranger, "may not ask");
}
