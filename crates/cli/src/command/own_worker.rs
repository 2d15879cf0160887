//! Workers that a command starts on this machine for proofs of its own.

use crate::exit::{self, Failure};
use anyhow::{Context, Result};
use engine::build_identity;
use orchestrator::{Member, ProbeError, probe};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

/// How long a worker may take to open its port.
const TO_LISTEN: Duration = Duration::from_secs(10);

/// How long a worker may take to end when it is asked to.
const TO_END: Duration = Duration::from_secs(5);

/// A worker process. Killed when dropped.
pub(super) struct OwnWorker {
    name: String,
    address: String,
    log: PathBuf,
    process: Child,
}

/// Free ports of the loopback interface, all different.
pub(super) fn free_ports(count: u16) -> Result<Vec<u16>> {
    // Held together until all are chosen, so that they differ.
    let ports: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().context("find a free port")?;
    ports.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

impl OwnWorker {
    /// Starts a worker that listens on `port`. `arguments` say how it proves. Its log goes to `folder`.
    pub(super) fn start(name: String, port: u16, folder: &Path, arguments: &[String]) -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let address = format!("127.0.0.1:{port}");
        let log = folder.join(format!("{name}.log"));
        let process = Command::new(&program)
            .args(["worker", "--orchestrator", "127.0.0.1", "--with-parent", "--wait-memory", "600"])
            .args(["--listen", &address, "--name", &name])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).context("make a log file")?)
            .kill_on_drop(true)
            .spawn()
            .context("start a worker")?;
        Ok(Self { name, address, log, process })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Its number for the system; `None` if it has ended.
    pub(super) fn process(&self) -> Option<u32> {
        self.process.id()
    }

    /// What it has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// # Errors
    /// If the worker has ended.
    pub(super) fn check_runs(&mut self) -> Result<()> {
        match self.process.try_wait().context("look after a worker")? {
            None => Ok(()),
            Some(status) => Err(Failure::new(exit::OTHER, format!("{} ended by itself ({status})", self.name)).into()),
        }
    }

    /// Returns when the worker takes calls.
    async fn wait_until_listening(&mut self) -> Result<()> {
        let (build, deadline) = (build_identity(), Instant::now() + TO_LISTEN);
        let member: Member = self.address.parse()?;
        // An open port alone may belong to another program.
        while let Err(ProbeError::Unreachable(_)) = probe(&member, &build).await {
            self.check_runs()?;
            anyhow::ensure!(Instant::now() < deadline, "a worker does not listen on {}", self.address);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The last lines of its log, where the reason of a failure may stand.
    pub(super) fn last_lines(&self) -> Vec<String> {
        const LINES: usize = 5;
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("{}: {line}", self.name)).collect()
    }
}

/// Returns when all of `workers` take calls.
pub(super) async fn wait_until_listening(workers: &mut [OwnWorker]) -> Result<()> {
    for worker in workers {
        worker.wait_until_listening().await?;
    }
    Ok(())
}

/// Asks the workers to stop, and kills those that do not within five seconds.
pub(super) async fn stop(mut workers: Vec<OwnWorker>) {
    for worker in &workers {
        let id = worker.process().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            // It may have ended by itself.
            let _ = kill_process(id, Signal::TERM);
        }
    }
    for worker in &mut workers {
        if tokio::time::timeout(TO_END, worker.process.wait()).await.is_err() {
            let _ = worker.process.kill().await;
        }
    }
}
