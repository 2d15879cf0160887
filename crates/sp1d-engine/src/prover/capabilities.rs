//! Determines which task kinds a worker on this machine supports.
//!
//! The last task of an on-chain proof (Groth16 or PLONK) needs two things: circuit files, which SP1 downloads by the
//! gigabyte if they are missing, and a prover written in Go, which runs in Docker unless it is linked in. A worker
//! checks for both in advance and reports what is missing. It never downloads anything.

use super::missing_equipment::MissingEquipment;
use crate::memory::{REST_BYTES, task_bytes};
use sp1_prover::build::{groth16_circuit_artifacts_dir, plonk_circuit_artifacts_dir};
use sp1d_model::TaskKind;
use sp1d_worker::Capabilities;
use std::path::PathBuf;

/// SP1 creates this file in a circuit folder after it has written all files of the circuit.
const COMPLETE_MARK: &str = ".complete";

/// What decides which task kinds this machine supports: circuit files, the gnark prover and memory.
#[derive(Debug, Clone)]
pub struct Equipment {
    /// Folder of the Groth16 circuit files, or why it cannot be determined.
    pub groth16_files: Result<PathBuf, MissingEquipment>,
    /// Folder of the PLONK circuit files, or why it cannot be determined.
    pub plonk_files: Result<PathBuf, MissingEquipment>,
    /// Whether the gnark prover (written in Go) can run.
    pub gnark: Result<(), MissingEquipment>,
    /// Whether `SP1_CIRCUIT_MODE=dev` makes SP1 use development circuits.
    pub development: bool,
    /// Total memory of the machine in bytes. With `None` every task kind is assumed to fit.
    pub memory_bytes: Option<u64>,
}

impl Equipment {
    /// Inspects this machine. Runs `docker info` and waits for it up to 5 s, so it must not be called on an
    /// asynchronous thread.
    #[must_use]
    pub fn of_this_machine(memory_bytes: Option<u64>) -> Self {
        let files =
            |found: anyhow::Result<PathBuf>| found.map_err(|error| MissingEquipment::CircuitFolder(error.to_string()));
        Self {
            groth16_files: files(groth16_circuit_artifacts_dir()),
            plonk_files: files(plonk_circuit_artifacts_dir()),
            gnark: check_gnark(),
            development: std::env::var("SP1_CIRCUIT_MODE").is_ok_and(|mode| mode == "dev"),
            memory_bytes,
        }
    }

    /// Returns the task kinds that a worker with this equipment supports, and a reason for each of the others.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        TaskKind::ALL.into_iter().fold(Capabilities::all(), |capabilities, kind| match self.check(kind) {
            Ok(()) => capabilities,
            Err(missing) => capabilities.without(kind, missing.to_string()),
        })
    }

    fn check(&self, kind: TaskKind) -> Result<(), MissingEquipment> {
        match kind {
            TaskKind::Groth16Wrap => self.check_wrap(&self.groth16_files, "SP1_GROTH16_CIRCUIT_PATH")?,
            TaskKind::PlonkWrap => self.check_wrap(&self.plonk_files, "SP1_PLONK_CIRCUIT_PATH")?,
            TaskKind::ProveShard
            | TaskKind::NormalizeShard
            | TaskKind::RecursionReduce
            | TaskKind::RecursionDeferred
            | TaskKind::ShrinkWrap => {}
        }
        // For a shard, this is the smallest shard that a run can be cut into.
        let needed_bytes = REST_BYTES + task_bytes(kind, None);
        match self.memory_bytes {
            Some(memory_bytes) if memory_bytes < needed_bytes => {
                Err(MissingEquipment::Memory { needed_bytes, memory_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Checks that the wrap task can run without SP1 downloading or building circuit files.
    fn check_wrap(
        &self,
        files: &Result<PathBuf, MissingEquipment>,
        variable: &'static str,
    ) -> Result<(), MissingEquipment> {
        let folder = files.clone()?;
        if !folder.join(COMPLETE_MARK).is_file() {
            return Err(MissingEquipment::CircuitFiles { folder, variable });
        }
        self.gnark.clone()?;
        if self.development { Err(MissingEquipment::DevelopmentCircuits) } else { Ok(()) }
    }
}

/// Checks again, right before the task, that this machine supports tasks of `kind`. Circuit files may have been deleted
/// since the worker started.
pub(super) fn check_still_supported(kind: TaskKind) -> Result<(), MissingEquipment> {
    Equipment::of_this_machine(None).check(kind)
}

#[cfg(feature = "native-gnark")]
fn check_gnark() -> Result<(), MissingEquipment> {
    Ok(())
}

#[cfg(not(feature = "native-gnark"))]
fn check_gnark() -> Result<(), MissingEquipment> {
    use std::{
        process::{Command, Stdio},
        thread::sleep,
        time::{Duration, Instant},
    };
    /// Time to wait for `docker info`, so that a Docker daemon that hangs does not block the worker.
    const MAX_WAIT: Duration = Duration::from_secs(5);
    let mut docker = Command::new("docker");
    let ended = (|| {
        let mut asked = docker.arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let deadline = Instant::now() + MAX_WAIT;
        loop {
            match asked.try_wait()? {
                Some(status) => return Ok(status.success()),
                None if Instant::now() < deadline => sleep(Duration::from_millis(20)),
                None => {
                    asked.kill()?;
                    asked.wait()?;
                    return Ok(false);
                }
            }
        }
    })();
    match ended {
        Ok::<bool, std::io::Error>(true) => Ok(()),
        _ => Err(MissingEquipment::Gnark),
    }
}
