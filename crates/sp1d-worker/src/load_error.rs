//! Why a prover cannot be loaded.

use crate::machine_memory::MemoryError;
use sp1d_machine::GpuFault;
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

impl From<GpuFault> for LoadError {
    fn from(fault: GpuFault) -> Self {
        let make = if fault.is_temporary() { Self::Gpu } else { Self::Engine };
        make(fault.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fault: GpuFault, is_tried_again: bool) {
        let text = fault.to_string();
        let expected = if is_tried_again { LoadError::Gpu(text) } else { LoadError::Engine(text) };
        assert_eq!(LoadError::from(fault), expected);
    }

    #[test]
    fn a_gpu_that_may_be_usable_later_is_tried_again() {
        check(GpuFault::OutOfMemory, true);
        check(GpuFault::LoadMemory, true);
        check(GpuFault::LittleFreeMemory { free_bytes: 1, needed_bytes: 2 }, true);
        check(GpuFault::Busy, true);
        check(GpuFault::NotInitialized, true);
        check(GpuFault::Lost("GPU is lost".to_owned()), true);
        check(GpuFault::NoDevice, true);
        check(GpuFault::Other("unknown error".to_owned()), true);
        check(GpuFault::DriverTooOld { found: None }, false);
        check(GpuFault::TooLittleMemory { memory_bytes: 1, needed_bytes: 2 }, false);
        check(GpuFault::UnsupportedCapability { capability: None }, false);
        check(GpuFault::NotBuilt, false);
    }
}
