//! Errors of a worker.

use sp1d_machine::ProcessorError;
use sp1d_protocol::{AddressError, FilterError};
use std::io;

/// Why a worker cannot start or has stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The address to listen on is malformed.
    #[error("invalid listen address: {0}")]
    Address(#[from] AddressError),
    /// The filter of orchestrators is malformed.
    #[error("invalid filter of orchestrators: {0}")]
    Filter(#[from] FilterError),
    /// This processor lacks features that the program was compiled for.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// The port cannot be opened, or the prover cannot be loaded.
    #[error(transparent)]
    Serve(#[from] sp1d_worker::ServeError),
    /// The system refused to create the worker's thread.
    #[error("cannot run the worker's thread: {0}")]
    Thread(io::Error),
    /// The worker's thread ended without a result.
    #[error("cannot run the worker's thread: it ended without a result")]
    ThreadEnded,
}
