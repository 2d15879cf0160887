//! Workers that a command starts on this machine for its own proofs.

use crate::exit::{self, CliError};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use sp1d_engine::build_identity;
use sp1d_orchestrator::{ProbeError, Probed, WorkerAddress, probe};
use sp1d_protocol::ReservedPort;
use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

/// How long a worker may take to open its port.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a worker may take to stop after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A worker process. Killed when dropped.
pub(super) struct ChildWorker {
    name: String,
    address: String,
    log: PathBuf,
    process: Child,
    /// Other programs cannot take the port before the worker listens on it.
    _port: ReservedPort,
}

impl ChildWorker {
    /// Starts a worker on a free port of the loopback interface. `arguments` are further flags of `sp1d worker`. The
    /// log is written to `folder`.
    pub(super) fn start(name: String, folder: &Path, arguments: &[String]) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let port = ReservedPort::new(Ipv4Addr::LOCALHOST.into()).context("cannot find a free port")?;
        let address = port.address().to_string();
        let log = folder.join(format!("{name}.log"));
        let process = Command::new(&program)
            .args(["worker", "--orchestrator", "127.0.0.1", "--with-parent", "--wait-memory", "600"])
            // Its proofs end with this command.
            .args(["--grace", "0", "--listen", &address, "--name", &name])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).context("cannot create the log file of a worker")?)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a worker")?;
        Ok(Self { name, address, log, process, _port: port })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The process id; `None` if the process has ended.
    pub(super) fn process(&self) -> Option<u32> {
        self.process.id()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// # Errors
    /// If the worker has ended.
    pub(super) fn check_runs(&mut self) -> Result<()> {
        match self.process.try_wait().context("cannot query the state of a worker")? {
            None => Ok(()),
            Some(status) => {
                Err(CliError::new(exit::OTHER, format!("the process of {} ended: {status}", self.name)).into())
            }
        }
    }

    /// Asks the worker about itself. The outer error is an invalid address.
    pub(super) async fn probe(&self) -> Result<Result<Probed, ProbeError>> {
        let worker_address: WorkerAddress = self.address.parse()?;
        Ok(probe(&worker_address, &build_identity(), None).await)
    }

    /// Returns when the worker accepts connections.
    async fn wait_until_listening(&mut self) -> Result<()> {
        let deadline = Instant::now() + LISTEN_TIMEOUT;
        // Probe the worker: an open port alone may belong to another program.
        while let Err(ProbeError::Unreachable(_)) = self.probe().await? {
            self.check_runs()?;
            let limit = LISTEN_TIMEOUT.as_secs();
            anyhow::ensure!(
                Instant::now() < deadline,
                "{} does not listen on {} after {limit} s",
                self.name,
                self.address
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The last lines of the log. They may contain the reason of a failure.
    pub(super) fn last_lines(&self) -> Vec<String> {
        const MAX_LINES: usize = 5;
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(MAX_LINES)..].iter().map(|line| format!("{}: {line}", self.name)).collect()
    }
}

/// Returns when all of `workers` accept connections.
pub(super) async fn wait_until_listening(workers: &mut [ChildWorker]) -> Result<()> {
    for worker in workers {
        worker.wait_until_listening().await?;
    }
    Ok(())
}

/// Asks the workers to stop, and kills those that have not stopped after five seconds.
pub(super) async fn stop(mut workers: Vec<ChildWorker>) {
    for worker in &workers {
        let id = worker.process().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            // The worker may already have ended.
            let _ = kill_process(id, Signal::TERM);
        }
    }
    for worker in &mut workers {
        if tokio::time::timeout(STOP_TIMEOUT, worker.process.wait()).await.is_err() {
            let _ = worker.process.kill().await;
        }
    }
}
