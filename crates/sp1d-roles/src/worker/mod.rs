//! The worker role, for programs that are workers. `sp1d worker` is one of them. This folder does not know the
//! configuration of an orchestrator.

mod bound;
mod builder;
mod embedded;
mod error;
mod loading;
mod session;

pub use bound::BoundWorker;
pub use builder::{WorkerBuilder, serve_worker};
pub(crate) use embedded::{EmbeddedWorker, LOCAL_NICENESS, local_threads, local_worker};
pub use error::WorkerError;
pub(crate) use loading::cores;
pub use loading::{serve_gpu_prover, serve_prover};
