//! A service and its workers.

use super::process::MeasuredProcess;
use anyhow::{Context, Result, bail};
use sp1d_client::Client;
use sp1d_testing::FakeKeys;
use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::time::sleep;

/// Number of honest workers. Each proves one shard at a time.
pub(crate) const WORKERS: u32 = 2;
/// Time that an honest worker takes for a shard.
pub(crate) const SHARD_TIME: Duration = Duration::from_millis(50);
/// Size of the record of a shard.
pub(crate) const RECORD_BYTES: usize = 16 << 10;
/// Interval between heartbeats. A shard takes less time than in real proofs, and so does the loss of a worker.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
/// Memory for the artifacts of all proofs.
const STORE_BYTES: u64 = 64 << 20;
/// Maximum length of a program.
const PROGRAM_BYTES: u64 = 4 << 20;
/// Maximum length of an input.
pub(crate) const INPUT_BYTES: u64 = 8 << 20;
/// Proofs that run at the same time: four honest ones and four of the hostile requester.
const RUNNING: u64 = 8;

/// Address of the only requester that may use the interface for sp1-sdk: the hostile one. For the text
/// `create_artifact`, its signature is the one whose numbers are both 1.
const SIGNERS: &str = "0x0b38e564e160e6c3ad6e7162d274fc93af92a5d3\n";

/// Longest start of the processes.
const START_TIME: Duration = Duration::from_secs(30);

/// Returns the memory that the settings of the service allow: for artifacts, and for the program and the input of each
/// running proof.
pub(crate) const fn budget_bytes() -> u64 {
    STORE_BYTES + RUNNING * (PROGRAM_BYTES + INPUT_BYTES)
}

/// A running service with its workers. All processes end when it is dropped.
pub(crate) struct MeasuredPool {
    pub(crate) service: MeasuredProcess,
    pub(crate) workers: Vec<MeasuredProcess>,
    /// Address of the port for orchestrators of the first worker.
    pub(crate) worker_port: SocketAddr,
    /// Address of the port for joining workers.
    pub(crate) join_port: SocketAddr,
    /// Address of the HTTP interface.
    pub(crate) http_port: SocketAddr,
    /// Address of the interface for sp1-sdk.
    pub(crate) hosted_port: SocketAddr,
    /// Address of the port for health probes of the first worker.
    pub(crate) health_port: SocketAddr,
    /// The keys of the service and of the workers. `None` without TLS.
    pub(crate) keys: Option<FakeKeys>,
    _folder: TempDir,
}

/// Peak memory of the processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeakMemory {
    pub(crate) service_bytes: u64,
    /// The largest of all workers.
    pub(crate) worker_bytes: u64,
}

/// Returns the path of a program that is built next to this one.
fn program(path: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the path of this program")?;
    let program = own.with_file_name(path);
    if !program.exists() {
        let program = program.display();
        bail!("{program} does not exist\nhint: `./x bench hostile` and `./x test` build it");
    }
    Ok(program)
}

fn free_address() -> Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("no port is free")
}

impl MeasuredPool {
    /// Starts the processes, and waits until the workers are ready. If the pool `is_secure`, the service and the
    /// workers connect with TLS.
    pub(crate) async fn start(is_secure: bool) -> Result<Self> {
        let keys = is_secure.then(FakeKeys::new);
        let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
        let health_port = free_address()?;
        let (mut workers, mut addresses) = (Vec::new(), Vec::new());
        for number in 0..WORKERS {
            let address = free_address()?;
            let mut command = Command::new(program("fake-worker")?);
            let milliseconds = SHARD_TIME.as_millis().to_string();
            command.args(["--listen", &address.to_string(), "--name", &format!("honest-{number}")]);
            command.args(["--milliseconds", &milliseconds]);
            if number == 0 {
                command.args(["--health", &health_port.to_string()]);
            }
            if let Some(keys) = &keys {
                command.arg("--tls").arg(keys.worker_file());
            }
            let log = folder.path().join(format!("worker-{number}.log"));
            workers.push(MeasuredProcess::start(&mut command, log, false)?);
            addresses.push(address);
        }
        let mut command = Command::new(program("examples/fake_serve")?);
        command.arg(folder.path().join("state")).args(addresses.iter().map(SocketAddr::to_string));
        let signers = folder.path().join("signers");
        fs::write(&signers, SIGNERS).context("cannot write the file with the signers")?;
        command.env("LOG", "info").env("JOIN_FROM", "127.0.0.0/8").env("HOSTED_SIGNERS", signers);
        command.envs(keys.iter().map(|keys| ("TLS", keys.orchestrator_file())));
        let numbers = [
            ("STORE_BYTES", STORE_BYTES),
            ("HEARTBEAT_MS", u64::try_from(HEARTBEAT.as_millis())?),
            ("RECORD_BYTES", RECORD_BYTES as u64),
            ("PROGRAM_BYTES", PROGRAM_BYTES),
            ("INPUT_BYTES", INPUT_BYTES),
            ("RUNNING", RUNNING),
            // All proofs have the same shards.
            ("RESULT_CACHE_BYTES", 0),
            // Longer than a slow check keeps its place.
            ("SLOW_CHECK_MS", 4000),
        ];
        command.envs(numbers.map(|(name, value)| (name, value.to_string())));
        let mut service = MeasuredProcess::start(&mut command, folder.path().join("service.log"), true)?;
        let join_port = service.line("joining ")?.parse().context("the service printed no address")?;
        let hosted_port = service.line("hosted ")?.parse().context("the service printed no address")?;
        let http_port = service.line("serving http://")?.parse().context("the service printed no address")?;
        let worker_port = addresses[0];
        let mut pool = Self {
            service,
            workers,
            worker_port,
            join_port,
            http_port,
            hosted_port,
            health_port,
            keys,
            _folder: folder,
        };
        pool.wait_until_ready().await?;
        Ok(pool)
    }

    /// Returns the URL of the service.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.http_port)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let (client, deadline) = (Client::new(&self.url())?, Instant::now() + START_TIME);
        while client.health().await?.ready_workers < WORKERS as usize {
            if let Some(end) = self.ended() {
                bail!("{end}");
            }
            if Instant::now() > deadline {
                let seconds = START_TIME.as_secs();
                bail!("the workers are not ready after {seconds} s; the log of the service:\n{}", self.service.log());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Returns the peak memory of the service, and the largest one of a worker. A process that has ended has none.
    pub(crate) fn peaks(&self) -> PeakMemory {
        let peak = |process: &MeasuredProcess| sp1d_figures::peak_bytes(process.id()).unwrap_or_default();
        PeakMemory {
            service_bytes: peak(&self.service),
            worker_bytes: self.workers.iter().map(peak).max().unwrap_or_default(),
        }
    }

    /// Returns which process has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let service = self.service.ended().map(|status| format!("the service has ended: {status}"));
        let workers = || {
            let mut ended = self.workers.iter_mut().filter_map(MeasuredProcess::ended);
            ended.next().map(|status| format!("an honest worker has ended: {status}"))
        };
        service.or_else(workers)
    }
}
