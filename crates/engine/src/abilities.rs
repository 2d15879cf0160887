//! What a worker on this machine can do.
//!
//! The last step of the on-chain proofs needs circuit files, which SP1 downloads by the gigabyte when they are missing,
//! and a prover in Go that runs in Docker unless it is linked in. A worker looks first, says what it lacks, and
//! downloads nothing.

use crate::memory::{REST_BYTES, task_bytes};
use scheduler::TaskKind;
use sp1_prover::build::{groth16_circuit_artifacts_dir, plonk_circuit_artifacts_dir};
use std::path::PathBuf;
use worker::Abilities;

/// Written by SP1 when all files of a circuit are there.
const COMPLETE: &str = ".complete";

/// What there is for the last step of the on-chain proofs.
#[derive(Debug, Clone)]
pub struct Equipment {
    /// Where the files of the Groth16 circuit should be; or why nobody knows.
    pub groth16_files: Result<PathBuf, String>,
    /// Where the files of the PLONK circuit should be; or why nobody knows.
    pub plonk_files: Result<PathBuf, String>,
    /// The prover in Go can run; or why not.
    pub gnark: Result<(), String>,
    /// SP1 is told to use circuits in development.
    pub development: bool,
    /// Memory of the machine, in all; unknown memory is taken for enough.
    pub memory_bytes: Option<u64>,
}

impl Equipment {
    /// What this machine has. Starts `docker info` and waits for it: not to be called on an asynchronous thread.
    #[must_use]
    pub fn of_this_machine(memory_bytes: Option<u64>) -> Self {
        let files = |found: anyhow::Result<PathBuf>| found.map_err(|error| error.to_string());
        Self {
            groth16_files: files(groth16_circuit_artifacts_dir()),
            plonk_files: files(plonk_circuit_artifacts_dir()),
            gnark: check_gnark(),
            development: std::env::var("SP1_CIRCUIT_MODE").is_ok_and(|mode| mode == "dev"),
            memory_bytes,
        }
    }

    /// What a worker can do with it.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        TaskKind::ALL.into_iter().fold(Abilities::all(), |abilities, kind| match self.check(kind) {
            Ok(()) => abilities,
            Err(reason) => abilities.without(kind, reason),
        })
    }

    fn check(&self, kind: TaskKind) -> Result<(), String> {
        match kind {
            TaskKind::Groth16Wrap => self.check_wrap(&self.groth16_files, "SP1_GROTH16_CIRCUIT_PATH")?,
            TaskKind::PlonkWrap => self.check_wrap(&self.plonk_files, "SP1_PLONK_CIRCUIT_PATH")?,
            TaskKind::ProveShard
            | TaskKind::NormalizeShard
            | TaskKind::RecursionReduce
            | TaskKind::RecursionDeferred
            | TaskKind::ShrinkWrap => {}
        }
        // Of a shard, the smallest there is.
        let needed_bytes = REST_BYTES + task_bytes(kind, None);
        match self.memory_bytes {
            Some(bytes) if bytes < needed_bytes => Err(format!(
                "it takes {:.1} GB of memory with the loaded prover, and the machine has {:.1} GB",
                needed_bytes as f64 / 1e9,
                bytes as f64 / 1e9
            )),
            _ => Ok(()),
        }
    }

    /// Checks that SP1 would neither download nor build anything.
    fn check_wrap(&self, files: &Result<PathBuf, String>, variable: &str) -> Result<(), String> {
        let folder = files.as_ref().map_err(|error| format!("the folder of the circuit files is unknown: {error}"))?;
        if !folder.join(COMPLETE).is_file() {
            return Err(format!(
                "the circuit files are missing: SP1 looks for them in {} (set {variable} to the folder above it, or make one such proof \
                 with SP1's own prover on that machine, which downloads them)",
                folder.display()
            ));
        }
        self.gnark.clone()?;
        if self.development {
            return Err(
                "SP1_CIRCUIT_MODE=dev has SP1 look for other circuit files, which it downloads or builds: unset it"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Checks that a task of `kind` can be done now: files may have gone since the worker began.
pub(crate) fn check_still_able(kind: TaskKind) -> Result<(), String> {
    match Equipment::of_this_machine(None).abilities().missing().get(&kind) {
        Some(reason) => Err(reason.clone()),
        None => Ok(()),
    }
}

#[cfg(feature = "native-gnark")]
fn check_gnark() -> Result<(), String> {
    Ok(())
}

#[cfg(not(feature = "native-gnark"))]
fn check_gnark() -> Result<(), String> {
    use std::{
        process::{Command, Stdio},
        thread::sleep,
        time::{Duration, Instant},
    };
    /// A daemon that hangs must not hold up the worker.
    const LONGEST: Duration = Duration::from_secs(5);
    let mut docker = Command::new("docker");
    let ended = (|| {
        let mut asked = docker.arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let deadline = Instant::now() + LONGEST;
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
        _ => Err("SP1's gnark prover runs in Docker and `docker info` fails: install and start Docker, or build with the feature \
                  native-gnark"
            .to_owned()),
    }
}
