//! Records a start of the service on disk, which must come before anything of this start runs.
//!
//! On a full disk, and while another program has locked the database, the service starts nevertheless: it serves reads
//! and refuses everything else, until it can record its start.

use super::{request::RequestError, start_error::StartError};
use crate::state::{CacheStart, Database, DatabaseError, DiskResultCache, DiskSpace, ServiceClock, StateError};
use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A proof fails when the service crashed this many times while only this proof was running. The proof itself is the
/// cause, for example by using all memory.
const MAX_CRASHES: u32 = 5;

/// Why the start cannot be recorded at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartObstacle {
    DiskFull,
    DatabaseLocked,
}

impl fmt::Display for StartObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "the disk with the state folder is full",
            Self::DatabaseLocked => "another program has locked the database",
        })
    }
}

impl From<StartObstacle> for RequestError {
    fn from(obstacle: StartObstacle) -> Self {
        match obstacle {
            StartObstacle::DiskFull => Self::DiskFull,
            StartObstacle::DatabaseLocked => Self::Locked,
        }
    }
}

/// Returns the obstacle behind `error`; `None` if only a person can remove its cause.
fn obstacle_of(error: &StartError) -> Option<StartObstacle> {
    match error {
        StartError::Database(DatabaseError::Full) => Some(StartObstacle::DiskFull),
        StartError::Database(DatabaseError::Locked) => Some(StartObstacle::DatabaseLocked),
        StartError::State(StateError::Unusable { reason, .. }) => {
            let is_full = matches!(reason.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            is_full.then_some(StartObstacle::DiskFull)
        }
        _ => None,
    }
}

/// The start of the service, and why it is not recorded yet.
pub(super) struct StartRecord {
    plan: CacheStart,
    obstacle: Mutex<Option<StartObstacle>>,
}

/// What records a start of the service: parts of its state.
pub(super) struct StartInputs<'a> {
    pub(super) folder: &'a Path,
    pub(super) database: &'a Database,
    pub(super) result_cache: &'a DiskResultCache,
    pub(super) space: &'a Arc<DiskSpace>,
    pub(super) clock: &'a ServiceClock,
}

impl StartInputs<'_> {
    /// Records the start and returns the number of proofs that are queued again. Blocks.
    fn record(&self, plan: &CacheStart) -> Result<usize, StartError> {
        self.database.share()?;
        self.database.record_start(plan.start)?;
        let unusable = |reason| StateError::Unusable { path: self.folder.to_owned(), reason };
        self.result_cache.record_start(plan).map_err(unusable)?;
        self.database.record_clock(&self.clock.record())?;
        Ok(self.database.requeue_running(MAX_CRASHES, self.clock.now())?)
    }
}

impl StartRecord {
    /// Records the start `plan` if that is possible at the moment. Blocks.
    ///
    /// # Errors
    /// If only a person can remove the cause.
    pub(super) fn try_now(plan: CacheStart, inputs: &StartInputs<'_>) -> Result<Self, StartError> {
        let obstacle = match inputs.record(&plan) {
            Ok(requeued) => {
                tracing::info!(state = %inputs.folder.display(), start = plan.start, requeued, "state folder opened");
                None
            }
            Err(error) => {
                let Some(obstacle) = obstacle_of(&error) else { return Err(error) };
                tracing::error!(state = %inputs.folder.display(), reason = %obstacle, "the service can only be read until it can write its state");
                Some(obstacle)
            }
        };
        Ok(Self { plan, obstacle: Mutex::new(obstacle) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<StartObstacle>> {
        self.obstacle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why the service can only be read; `None` if it works.
    pub(super) fn obstacle(&self) -> Option<StartObstacle> {
        *self.lock()
    }

    /// Tries again to record the start. Blocks.
    pub(super) fn try_again(&self, inputs: &StartInputs<'_>) {
        // On a full disk, cached results give way.
        drop(inputs.space.reserve(0));
        match inputs.record(&self.plan) {
            Ok(requeued) => {
                tracing::info!(requeued, "the service can write its state and starts its proofs");
                self.lock().take();
            }
            Err(error) => match obstacle_of(&error) {
                Some(obstacle) => *self.lock() = Some(obstacle),
                None => tracing::error!(%error, "cannot record the start of the service; retrying"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_disk_and_a_locked_database_let_the_service_wait() {
        let unusable =
            |kind: io::ErrorKind| StartError::State(StateError::Unusable { path: "state".into(), reason: kind.into() });
        let cases = [
            (StartError::Database(DatabaseError::Full), Some(StartObstacle::DiskFull)),
            (StartError::Database(DatabaseError::Locked), Some(StartObstacle::DatabaseLocked)),
            (unusable(io::ErrorKind::StorageFull), Some(StartObstacle::DiskFull)),
            (unusable(io::ErrorKind::QuotaExceeded), Some(StartObstacle::DiskFull)),
            (unusable(io::ErrorKind::PermissionDenied), None),
            (StartError::Database(DatabaseError::Foreign { path: "state".into() }), None),
        ];
        for (error, expected) in cases {
            assert_eq!(obstacle_of(&error), expected, "{error}");
        }
    }
}
