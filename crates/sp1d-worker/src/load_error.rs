//! Why a prover cannot be loaded.

use crate::machine_memory::MemoryError;
use std::path::PathBuf;

/// Why a prover cannot be loaded. A worker whose provers all fail ends. After [`LoadError::Gpu`], prover processes are
/// tried again instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The machine does not have enough free memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The prover process cannot be started.
    #[error("cannot start the prover process {}: {reason}", .program.display())]
    Start {
        /// The program file.
        program: PathBuf,
        /// The error of the operating system.
        reason: String,
    },
    /// The system does not report how the prover process ended. The value is its error.
    #[error("cannot wait for the prover to end: {0}")]
    Wait(String),
    /// The prover process ended before it was loaded, on every try.
    #[error("cannot load the prover after {tries} tries: {last}")]
    Ended {
        /// Number of tries.
        tries: u32,
        /// How the last try ended.
        last: String,
    },
    /// The engine reported this error.
    #[error("{0}")]
    Engine(String),
    /// The GPU cannot be used now, for example because another program uses its memory. A later try may succeed.
    #[error("{0}")]
    Gpu(String),
    /// The engine panicked.
    #[error("the prover panicked while loading")]
    Panicked,
    /// The worker was started without a prover.
    #[error("the worker has no prover")]
    NoProver,
    /// The task that loads the prover ended without a result.
    #[error("the task that loads the prover ended without a result")]
    NoResult,
}
