//! Why a machine does not support a task kind.

use std::path::PathBuf;

/// What a machine lacks for a task kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MissingEquipment {
    /// The folder of the circuit files cannot be determined. The value is SP1's error.
    #[error("cannot determine the folder of the circuit files: {0}")]
    CircuitFolder(String),
    /// The circuit files are not in their folder.
    #[error(
        "the circuit files are missing in {} (set {variable} to the folder that contains the folder of the circuit \
         files, or make one such proof with SP1's own prover on that machine, which downloads them)",
        .folder.display()
    )]
    CircuitFiles {
        /// Their folder.
        folder: PathBuf,
        /// The environment variable that moves the folder.
        variable: &'static str,
    },
    /// The gnark prover cannot run.
    #[error(
        "SP1's gnark prover runs in Docker, and `docker info` fails: install and start Docker, or build with the \
         feature native-gnark"
    )]
    Gnark,
    /// SP1 is set to use development circuits, which it downloads or builds.
    #[error("SP1_CIRCUIT_MODE=dev makes SP1 use development circuits, which it downloads or builds: unset it")]
    DevelopmentCircuits,
    /// The machine has too little memory.
    #[error(
        "the task needs {} of memory including the loaded prover, and the machine has {}",
        gigabytes(*.needed_bytes), gigabytes(*.memory_bytes)
    )]
    Memory {
        /// Bytes that the task and the loaded prover need.
        needed_bytes: u64,
        /// Bytes that the machine has.
        memory_bytes: u64,
    },
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
