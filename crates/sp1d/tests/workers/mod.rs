//! Real worker processes, for tests that load provers.

mod verdicts;

use rustix::process::{Pid, Signal, kill_process};
use sp1_core_machine::io::SP1Stdin;
use sp1_distributed::{Elf, Prover as _, ProvingKey, SP1ProofWithPublicValues, SP1VerifyingKey, env::EnvProver};
use sp1d_testing::{free_address, free_address_on};
use std::{
    fs::{self, File},
    net::ToSocketAddrs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
pub(crate) use verdicts::check_verdicts;

pub(crate) fn guest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/elf").join(name)
}

#[allow(dead_code, reason = "not every test proves through the library")]
pub(crate) fn elf(name: &str) -> Elf {
    Elf::Dynamic(fs::read(guest(name)).unwrap().into())
}

#[allow(dead_code, reason = "not every test proves through the library")]
pub(crate) fn input(values: &[u32]) -> SP1Stdin {
    let mut stdin = SP1Stdin::new();
    values.iter().for_each(|value| stdin.write(value));
    stdin
}

/// Returns the verifying key that sp1-sdk's light prover makes. `sp1-distributed` only passes the call on: compiled in
/// this crate, which is not optimized, the setup would take a minute.
#[allow(dead_code, reason = "not every test verifies")]
pub(crate) async fn key_of_sp1(program: &str) -> SP1VerifyingKey {
    let prover = EnvProver::Light(sp1_sdk::ProverClient::builder().light().build().await);
    prover.setup(elf(program)).await.unwrap().verifying_key().clone()
}

/// Verifies a proof of `program` with plain sp1-sdk.
#[allow(dead_code, reason = "not every test proves through the library")]
pub(crate) async fn check_with_sp1(proof: &SP1ProofWithPublicValues, program: &str) {
    let client = sp1_sdk::ProverClient::builder().light().build().await;
    let key = key_of_sp1(program).await;
    sp1_sdk::Prover::verify(&client, proof, &key, None).unwrap();
    check_verdicts(&client, proof, &key);
}

pub(crate) fn sp1d(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sp1d"));
    command.current_dir(folder).env("TMPDIR", folder).env_remove("SP1_DISTRIBUTED_WORKERS").stdin(Stdio::null());
    command
}

/// A worker process, killed when dropped. By default it has one thread, pinned to its own core if the machine has
/// several.
pub(crate) struct Worker {
    pub(crate) address: String,
    number: usize,
    log: PathBuf,
    process: Child,
}

impl Worker {
    pub(crate) fn start(folder: &Path, number: usize, host: &str) -> Self {
        let first = (host.trim_matches(['[', ']']), 0).to_socket_addrs().unwrap().next().unwrap();
        let port = free_address_on(first.ip()).port();
        Self::start_at(folder, number, format!("{host}:{port}"))
    }

    fn start_at(folder: &Path, number: usize, address: String) -> Self {
        let core = number % std::thread::available_parallelism().unwrap().get();
        Self::start_process(folder, number, address, &["--threads", "1", "--pin", &core.to_string()])
    }

    /// Starts a worker with one thread per core.
    #[allow(dead_code, reason = "most tests have more than one worker")]
    pub(crate) fn start_with_all_cores(folder: &Path) -> Self {
        Self::start_process(folder, 0, free_address().to_string(), &[])
    }

    fn start_process(folder: &Path, number: usize, address: String, more: &[&str]) -> Self {
        let log = folder.join(format!("worker-{number}.log"));
        let process = sp1d(folder)
            .args(["worker", "--listen", &address, "--orchestrator", "127.0.0.1,::1"])
            .args(["--wait-memory", "600", "--with-parent"])
            .args(more)
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let worker = Self { address, number, log, process };
        worker.wait_for("listening", Duration::from_secs(20));
        worker
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn wait_for(&self, text: &str, longest: Duration) {
        let deadline = Instant::now() + longest;
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "the worker's log does not contain {text:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the prover is loaded.
    #[allow(dead_code, reason = "not every test waits")]
    pub(crate) fn wait_until_ready(&self) {
        self.wait_for("prover ready", Duration::from_secs(600));
    }

    /// Returns the worker's prover processes.
    #[allow(dead_code, reason = "not every test looks at them")]
    pub(crate) fn provers(&self) -> Vec<Pid> {
        // Any thread of the worker may have started them, so collect the children of all threads.
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap().map(Result::unwrap);
        let children = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
        let children: String = children.collect();
        children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().unwrap())).collect()
    }

    /// Peak memory of the provers in GB, since they started or since [`Worker::forget_peak`].
    #[allow(dead_code, reason = "not every test measures")]
    pub(crate) fn peak_gb(&self) -> f64 {
        let of = |prover: Pid| {
            let status = fs::read_to_string(format!("/proc/{}/status", prover.as_raw_nonzero())).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e9
        };
        self.provers().into_iter().map(of).sum()
    }

    /// Resets the peak memory: loading the prover takes more memory than proving.
    #[allow(dead_code, reason = "not every test measures")]
    pub(crate) fn forget_peak(&self) {
        // See proc(5), `clear_refs`.
        for prover in self.provers() {
            fs::write(format!("/proc/{}/clear_refs", prover.as_raw_nonzero()), "5").unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Kills the worker and starts a new one at the same address. The new one must load its prover first.
    #[allow(dead_code, reason = "not every test kills")]
    pub(crate) fn replace(&mut self, folder: &Path) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        *self = Self::start_at(folder, self.number, self.address.clone());
    }

    /// Stops the worker with SIGTERM, as a service manager does, and checks that it shuts down cleanly.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the worker does not stop");
            std::thread::sleep(Duration::from_millis(50));
        };
        let log = self.log();
        assert!(status.success(), "{status}: {log}");
        assert!(!log.contains("ERROR") && !log.contains("WARN attempt"), "{log}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The process has already ended if the test succeeded.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
