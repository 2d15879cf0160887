//! Why a worker cannot serve orchestrators.

use crate::{engine_state::EngineState, load_error::LoadError, port::PortError};
use tokio::sync::watch;

/// Why a worker cannot serve orchestrators.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The worker cannot listen on the address.
    #[error(transparent)]
    Bind(#[from] PortError),
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
