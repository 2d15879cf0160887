//! Which workers the pool has: those of the list, those that join, and those that are forgotten.
//!
//! It does not know what the workers do.

use super::{
    connection::listed_worker::keep_connected,
    first_outcome::FirstOutcome,
    join_port::{JoinPort, JoinSettings},
    list::WorkerList,
    names::name_follower::{NameFollower, NamedConnectionStops},
    unknown_worker::UnknownWorker,
};
use crate::{
    lock::lock,
    session::lifetime::SessionStop,
    state::shared_state::SharedState,
    workers::{connected_worker::ConnectedWorker, disconnected::DisconnectedWorkers, worker_address::WorkerAddress},
};
use sp1d_scheduler::{SessionId, WorkerId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, atomic::Ordering},
};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};

/// The workers that the orchestrator connects to, and those that join it.
pub(crate) struct Membership {
    shared: Arc<SharedState>,
    /// The workers of the list, each with the token that ends its connection.
    members: Mutex<BTreeMap<WorkerAddress, CancellationToken>>,
    /// The same for the workers of names with several addresses.
    named: NamedConnectionStops,
    /// Runs the connections. Its owner waits for their end.
    background: BackgroundTasks,
    /// Ends all connections.
    stop: CancellationToken,
}

impl Membership {
    pub(crate) fn new(shared: Arc<SharedState>, background: BackgroundTasks, stop: CancellationToken) -> Self {
        Self { shared, members: Mutex::default(), named: NamedConnectionStops::default(), background, stop }
    }

    /// Connects to the workers of `list` from now on, and ends the sessions with workers that are no longer in it.
    /// Returns the new workers in the order of the list, each with the receiver of its first outcome.
    pub(crate) fn set_list(&self, list: &WorkerList) -> Vec<(WorkerAddress, FirstOutcome)> {
        let listed: BTreeSet<&WorkerAddress> = list.0.iter().collect();
        let mut members = lock(&self.members);
        members.retain(|worker_address, end| {
            let stays = listed.contains(worker_address);
            if !stays {
                tracing::info!(worker = %worker_address, "worker removed from the list");
                let mut disconnected = self.shared.disconnected();
                self.stop_connecting(worker_address, end);
                disconnected.remove_listed(worker_address);
                if let WorkerAddress::Listed(name) = worker_address {
                    disconnected.remove_named(name);
                }
            }
            stays
        });
        let new: Vec<&WorkerAddress> =
            list.0.iter().filter(|worker_address| !members.contains_key(worker_address)).collect();
        let connect = |worker_address: &WorkerAddress| {
            let (first, outcome) = oneshot::channel();
            let end = self.stop.child_token();
            members.insert(worker_address.clone(), end.clone());
            self.shared.contacts.send_modify(|contacts| contacts.add(worker_address.clone()));
            let (shared, first) = (self.shared.clone(), Some(first));
            match worker_address {
                WorkerAddress::Listed(name) if name.is_name() => {
                    let (name, background, connections) = (name.clone(), self.background.clone(), BTreeMap::new());
                    let named = self.named.clone();
                    let follower = NameFollower { name, shared, first, background, stop: end, connections, named };
                    self.background.spawn(follower.run());
                }
                worker_address => {
                    _ = self.background.spawn(keep_connected(
                        worker_address.clone(),
                        shared,
                        first,
                        SessionStop::from(end),
                    ));
                }
            }
            (worker_address.clone(), outcome)
        };
        new.into_iter().map(connect).collect()
    }

    /// Accepts workers that join through `listener`, until the orchestrator ends.
    pub(crate) fn serve_joining(&self, listener: TcpListener, settings: JoinSettings) {
        let port = Arc::new(JoinPort::new(settings, self.shared.clone()));
        self.background.spawn(port.serve(listener, self.background.clone(), self.stop.clone()));
    }

    /// Removes a worker, given by name or address: ends its session if it is connected, and no longer lists it if it is
    /// disconnected. A worker that joined by itself may join again. A worker of the list is connected again when the
    /// list is set the next time. A worker of a name with several addresses is connected again when the name loses its
    /// address and gets it back.
    ///
    /// # Errors
    /// Fails if no such worker is known, or if several workers have this name, connected or not.
    pub(crate) fn forget(&self, worker: &str) -> Result<(), UnknownWorker> {
        // An address selects a disconnected worker first.
        if self.forget_disconnected(|disconnected| disconnected.forget_at(worker)) {
            return Ok(());
        }
        let found = self.session_of(worker);
        let mut addresses = self.shared.disconnected().addresses_of(worker);
        match found {
            Ok(id) => {
                // It may have left since.
                let Some(connected) = self.shared.worker(id) else { return Ok(()) };
                let address = connected.address.to_string();
                if addresses.is_empty() || address == worker {
                    self.forget_connected(&connected);
                    return Ok(());
                }
                addresses.push(address);
            }
            Err(UnknownWorker::Ambiguous { addresses: connected, .. }) => addresses.extend(connected),
            Err(unknown) if addresses.len() < 2 => {
                let is_forgotten = self.forget_disconnected(|disconnected| disconnected.forget_named(worker));
                return if is_forgotten { Ok(()) } else { Err(unknown) };
            }
            Err(_) => {}
        }
        Err(UnknownWorker::Ambiguous { wanted: worker.to_owned(), addresses })
    }

    /// Ends the session of `worker`, and stops connecting to it.
    fn forget_connected(&self, worker: &ConnectedWorker) {
        worker.left_on_purpose.store(true, Ordering::Relaxed);
        // Locked until no one connects to it any more, so that the list does not get the worker back meanwhile.
        let mut members = lock(&self.members);
        match members.remove(&worker.address).or_else(|| self.named.remove(&worker.address)) {
            Some(end) => self.stop_connecting(&worker.address, &end),
            None => worker.closer.close(),
        }
    }

    /// Removes the disconnected worker that `forget` selects, and stops connecting to it. Returns false if `forget`
    /// selects none.
    fn forget_disconnected(
        &self,
        forget: impl FnOnce(&mut DisconnectedWorkers) -> Option<Option<WorkerAddress>>,
    ) -> bool {
        let mut members = lock(&self.members);
        // Locked until no one connects to the worker any more, so that a failed connection does not list it again.
        let mut disconnected = self.shared.disconnected();
        let Some(found) = forget(&mut disconnected) else { return false };
        if let Some(worker_address) = found
            && let Some(end) = members.remove(&worker_address).or_else(|| self.named.remove(&worker_address))
        {
            self.stop_connecting(&worker_address, &end);
        }
        true
    }

    /// Ends the connection to `worker_address`, which no longer belongs to the list, and forgets its identity.
    fn stop_connecting(&self, worker_address: &WorkerAddress, end: &CancellationToken) {
        end.cancel();
        self.shared.forget_listed(worker_address);
        self.shared.contacts.send_modify(|contacts| {
            contacts.remove(worker_address);
            if let WorkerAddress::Listed(name) = worker_address {
                contacts.remove_named(name);
            }
        });
    }

    /// Returns the session of `worker`, given by address or name. A worker chooses its name itself: an address that is
    /// its name does not count, and neither does a name that another worker has too. Of two sessions of one worker, the
    /// newer one counts.
    pub(crate) fn session_of(&self, worker: &str) -> Result<SessionId, UnknownWorker> {
        let workers = self.shared.workers();
        if let Some((id, _)) = workers.iter().rev().find(|(_, found)| found.address.to_string() == worker) {
            return Ok(*id);
        }
        let named: BTreeMap<WorkerId, (SessionId, &ConnectedWorker)> = workers
            .iter()
            .filter(|(_, found)| *found.name == *worker)
            .map(|(id, found)| (found.worker_id, (*id, &**found)))
            .collect();
        match named.values().next() {
            Some((id, _)) if named.len() == 1 => Ok(*id),
            Some(_) => Err(UnknownWorker::Ambiguous {
                wanted: worker.to_owned(),
                addresses: named.values().map(|(_, found)| found.address.to_string()).collect(),
            }),
            None => Err(UnknownWorker::NotConnected {
                wanted: worker.to_owned(),
                connected: workers.values().map(|worker| worker.name.to_string()).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_state::TestState;

    #[tokio::test]
    async fn the_identity_of_a_worker_is_forgotten_when_the_list_loses_it() {
        let shared = TestState::new().shared;
        let membership = Membership::new(shared.clone(), BackgroundTasks::new(), CancellationToken::new());
        let [kept, removed] = ["10.0.0.1:1", "10.0.0.2:1"].map(|entry| entry.parse::<WorkerAddress>().unwrap());
        let ids = || [&kept, &removed].map(|address| shared.identify("one", address, None).id);
        membership.set_list(&WorkerList(vec![kept.clone(), removed.clone()]));
        let before = ids();
        assert_eq!(ids(), before);
        membership.set_list(&WorkerList(vec![kept.clone()]));
        let after = ids();
        assert_eq!((after[0] == before[0], after[1] == before[1]), (true, false));
    }
}
