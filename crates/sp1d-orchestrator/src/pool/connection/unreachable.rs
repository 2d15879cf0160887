//! The workers of the list that cannot be reached, as people see them.

use super::reach_error::{ReachError, failure_line};
use crate::workers::worker_address::WorkerAddress;
use std::{fmt, sync::Arc};

/// A worker of the list that could not be reached.
#[derive(Debug)]
pub struct Unreachable {
    /// Its entry in the list.
    pub worker: WorkerAddress,
    /// Why it could not be reached.
    pub reason: Arc<ReachError>,
}

/// No worker of the list could be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach any worker of the list: {}\nhint: start the workers with `sp1d worker`, or correct the list; `[\"local\"]` proves in this process", UnreachableList(.0))]
pub struct ConnectError(pub Vec<Unreachable>);

/// Displays each worker with its reason.
pub(crate) struct UnreachableList<'a>(pub(crate) &'a [Unreachable]);

impl fmt::Display for UnreachableList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Unreachable { worker, reason }) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{worker} ({})", failure_line(reason))?;
        }
        Ok(())
    }
}
