//! Why a worker cannot serve orchestrators.

use crate::{load_error::LoadError, state::EngineState};
use sp1d_protocol::Address;
use std::io;
use tokio::sync::watch;

/// Why a worker cannot serve orchestrators.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The worker cannot listen on the address.
    #[error("cannot listen on {address}: {reason}{hint}")]
    Bind {
        /// The address as configured.
        address: Address,
        /// The operating system's error.
        reason: io::Error,
        /// A line with a hint, or empty if there is no obvious remedy.
        hint: &'static str,
    },
    /// The engine can never be ready.
    #[error(transparent)]
    Engine(#[from] LoadError),
}

/// Resolves with the reason once the engine can never be ready.
pub(super) async fn engine_failure(engine: &mut watch::Receiver<EngineState>) -> LoadError {
    let failed = engine.wait_for(|state| matches!(state, EngineState::Failed(_))).await.map(|state| state.clone());
    match failed {
        Ok(EngineState::Failed(error)) => error,
        // The sender of an in-process engine's state is dropped once the engine is ready. That is not a failure.
        _ if matches!(*engine.borrow(), EngineState::Ready(_)) => std::future::pending().await,
        _ => LoadError::NoResult,
    }
}
