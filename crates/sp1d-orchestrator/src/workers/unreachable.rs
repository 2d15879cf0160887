//! The workers of the list that cannot be reached, as people see them.

use super::{
    reach_error::{ReachError, failure_line},
    worker_address::WorkerAddress,
};
use crate::describe_first_workers::describe_first_workers;
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

/// Displays the first workers, each with its reason, and the number of the others.
pub(crate) struct UnreachableList<'a>(pub(crate) &'a [Unreachable]);

impl fmt::Display for UnreachableList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let describe = |Unreachable { worker, reason }: &Unreachable| format!("{worker} ({})", failure_line(reason));
        f.write_str(&describe_first_workers(self.0.iter(), describe).join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    /// Checks the text about `count` workers.
    #[track_caller]
    fn check(count: u16, start: &str, end: &str) {
        let unreachable = |port: u16| {
            let worker = SocketAddr::from(([10, 0, 0, 1], port)).into();
            Unreachable { worker, reason: Arc::new(ReachError::NoLocalWorker) }
        };
        let workers: Vec<Unreachable> = (1..=count).map(unreachable).collect();
        let text = UnreachableList(&workers).to_string();
        assert!(text.starts_with(start) && text.ends_with(end) && text.len() < 1000, "{text}");
    }

    #[test]
    fn the_first_unreachable_workers_are_named() {
        check(1, "10.0.0.1:1 (", ")");
        check(2, "10.0.0.1:1 (this process runs no worker), 10.0.0.1:2 (", ")");
        check(4096, "10.0.0.1:1 (", "), and 4086 more");
    }
}
