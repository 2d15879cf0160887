//! The time that a whole call may take.

use sp1d_orchestrator::{ProofFailure, ProofRequest, WorkerList};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Maximum number of workers that an error names.
const MAX_NAMED_WORKERS: usize = 3;

/// The time that a whole call may take: the wait for the first worker and the proof together.
///
/// The orchestrator counts the timeout of a request from the start of its proof. So the caller subtracts the time that
/// passed before.
#[derive(Debug, Clone, Copy)]
pub struct CallDeadline {
    /// The timeout, and when it passes.
    limit: Option<(Duration, Instant)>,
}

impl CallDeadline {
    /// Starts to count. With `None`, or with a timeout beyond the range of the clock, the time is not limited.
    #[must_use]
    pub fn start(timeout: Option<Duration>) -> Self {
        Self { limit: timeout.and_then(|timeout| Some((timeout, Instant::now().checked_add(timeout)?))) }
    }

    /// Runs `work` until the time has passed. `awaited` names what `work` waits for.
    ///
    /// # Errors
    /// Fails with [`ProofFailure::LateStart`] if the time has passed.
    ///
    /// # Cancel safety
    /// As cancel safe as `work`.
    pub async fn bound<T>(
        &self,
        awaited: impl FnOnce() -> String,
        work: impl Future<Output = T>,
    ) -> Result<T, ProofFailure> {
        match self.limit {
            None => Ok(work.await),
            Some((timeout, end)) => {
                timeout_at(end, work).await.map_err(|_| ProofFailure::LateStart { timeout, awaited: awaited() })
            }
        }
    }

    /// Gives `request` the time that is left.
    pub fn limit(&self, request: &mut ProofRequest) {
        if let Some((_, end)) = self.limit {
            request.timeout = Some(end.saturating_duration_since(Instant::now()));
        }
    }

    /// Returns `failure` with the timeout of the call, and not with the time that was left for the proof.
    #[must_use]
    pub fn restated(&self, failure: ProofFailure) -> ProofFailure {
        match (failure, self.limit) {
            (ProofFailure::Timeout(_), Some((timeout, _))) => ProofFailure::Timeout(timeout),
            (failure, _) => failure,
        }
    }

    /// Names what a call waits for that opens a pool: the first worker of `list`.
    #[must_use]
    pub fn first_worker(list: &WorkerList) -> String {
        let named: Vec<String> = list.0.iter().take(MAX_NAMED_WORKERS).map(ToString::to_string).collect();
        let more = match list.0.len().saturating_sub(named.len()) {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        format!("the first worker of {}{more}", named.join(", "))
    }
}
