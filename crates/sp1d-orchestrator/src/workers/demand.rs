//! Which proof requests run now. While there are any, the orchestrator connects to workers and waits for its turn at
//! them.

use std::collections::BTreeSet;
use tokio::sync::watch;

/// Identifies a proof request in all its tries. Numbers do not repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestNumber(pub(crate) u64);

/// The running proof requests.
#[derive(Debug, Default)]
pub(crate) struct RunningRequests {
    numbers: BTreeSet<RequestNumber>,
    started: u64,
}

impl RunningRequests {
    pub(crate) fn numbers(&self) -> &BTreeSet<RequestNumber> {
        &self.numbers
    }
}

/// The running proof requests, for all parts that follow them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand(watch::Sender<RunningRequests>);

/// A proof request runs while this value exists.
#[derive(Debug)]
pub(crate) struct RequestGuard {
    demand: Demand,
    number: RequestNumber,
}

impl Demand {
    /// A proof request starts. It ends when the returned value is dropped.
    pub(crate) fn start(&self) -> RequestGuard {
        let mut number = RequestNumber(0);
        self.0.send_modify(|running| {
            running.started += 1;
            number = RequestNumber(running.started);
            running.numbers.insert(number);
        });
        RequestGuard { demand: self.clone(), number }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<RunningRequests> {
        self.0.subscribe()
    }

    /// Returns true if a proof request runs.
    pub(crate) fn exists(&self) -> bool {
        !self.0.borrow().numbers.is_empty()
    }

    /// Resolves when a proof request runs.
    pub(crate) async fn started(&self) {
        // This fails only if all senders are dropped, and `self` is one.
        let _ = self.0.subscribe().wait_for(|running| !running.numbers.is_empty()).await;
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.demand.0.send_modify(|running| _ = running.numbers.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn demand_exists_while_a_request_runs_and_numbers_do_not_repeat() {
        let demand = Demand::default();
        assert!(!demand.exists() && demand.started().now_or_never().is_none());
        let first = demand.start();
        assert!(demand.exists() && demand.started().now_or_never().is_some());
        let number = first.number;
        drop(first);
        assert!(!demand.exists());
        assert_ne!(demand.start().number, number);
    }
}
