//! Disconnected workers: workers that should be connected and are not.

use super::{connected_worker::ConnectedWorker, worker_address::WorkerAddress};
use sp1d_identity::PeerName;
use sp1d_protocol::{Address, PeerNetwork};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// How long a worker that had joined by itself stays listed after it left. It may never come back.
    const MAX_LISTED_AGE: Duration = Duration::from_secs(10 * 60); Time by Worker;
    /// Maximum number of disconnected workers that are listed.
    const MAX_LISTED: usize = 10_000; Count by Worker;
    /// Maximum number of disconnected workers that had joined from one address, or from one IPv6 network of 64 bits. A
    /// peer that joins under ever new names does not fill the list.
    const MAX_LISTED_PER_NETWORK: usize = 64; Count by Worker;
}

/// A worker that was connected, or that is in the list, and that is not connected now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisconnectedWorker {
    /// Its name, or its address if it has never reported a name.
    pub name: String,
    /// The address to which the orchestrator connects, or from which it joined.
    pub address: String,
    /// When it left, or when the first connection to it failed.
    pub since: SystemTime,
    /// Why it left, or why the first connection to it failed.
    pub reason: String,
    /// Why the latest connection to it failed; `None` if there was no later attempt.
    pub last_try: Option<String>,
}

/// Identifies a worker in the list of disconnected workers. A worker that joins comes from a different port each time,
/// and often from a different address. So its name identifies it here, and with TLS the name together with the
/// certificate. Without TLS, a worker that takes the name of another one counts as the same worker. This only affects
/// what people see: faults and attempts belong to a [`WorkerIdentity`](super::identity::WorkerIdentity).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum DisconnectedKey {
    Listed(WorkerAddress),
    Joined { name: String, certificate: Option<PeerName> },
}

impl DisconnectedKey {
    fn new(worker_address: &WorkerAddress, name: &str, certificate: Option<&PeerName>) -> Self {
        match worker_address {
            WorkerAddress::JoinedFrom(_) => Self::Joined { name: name.to_owned(), certificate: certificate.cloned() },
            WorkerAddress::Listed(_) | WorkerAddress::OfName(..) | WorkerAddress::Local => {
                Self::Listed(worker_address.clone())
            }
        }
    }

    fn of(worker: &ConnectedWorker) -> Self {
        Self::new(&worker.address, &worker.name, worker.certificate.as_ref())
    }
}

/// Returns true if the list of disconnected workers has one entry for both.
pub(crate) fn is_same(one: &ConnectedWorker, other: &ConnectedWorker) -> bool {
    DisconnectedKey::of(one) == DisconnectedKey::of(other)
}

/// A disconnected worker with the network from which it had joined, if it had.
#[derive(Debug)]
struct DisconnectedEntry {
    worker: DisconnectedWorker,
    network: Option<PeerNetwork>,
}

/// All disconnected workers.
#[derive(Debug, Default)]
pub(crate) struct DisconnectedWorkers(BTreeMap<DisconnectedKey, DisconnectedEntry>);

impl DisconnectedWorkers {
    /// Adds the worker `name`, whose session has ended.
    pub(crate) fn add(
        &mut self,
        worker_address: &WorkerAddress,
        name: &str,
        certificate: Option<&PeerName>,
        reason: &str,
        now: SystemTime,
    ) {
        let network = match worker_address {
            WorkerAddress::JoinedFrom(peer) => Some(PeerNetwork::from(peer.ip())),
            WorkerAddress::Listed(_) | WorkerAddress::OfName(..) | WorkerAddress::Local => None,
        };
        self.make_room(network, now);
        let (name, address, reason) = (name.to_owned(), worker_address.to_string(), reason.to_owned());
        let key = DisconnectedKey::new(worker_address, &name, certificate);
        let worker = DisconnectedWorker { name, address, since: now, reason, last_try: None };
        self.0.insert(key, DisconnectedEntry { worker, network });
    }

    /// Records that a connection to `worker_address` failed.
    pub(crate) fn connection_failed(&mut self, worker_address: &WorkerAddress, reason: &str, now: SystemTime) {
        let address = worker_address.to_string();
        match self.0.get_mut(&DisconnectedKey::Listed(worker_address.clone())) {
            Some(entry) => entry.worker.last_try = Some(reason.to_owned()),
            None => self.add(worker_address, &address, None, reason, now),
        }
    }

    /// Removes the worker `name`, because it is connected or no longer expected.
    pub(crate) fn remove(&mut self, worker_address: &WorkerAddress, name: &str, certificate: Option<&PeerName>) {
        self.0.remove(&DisconnectedKey::new(worker_address, name, certificate));
    }

    /// Removes the worker `worker_address` of the list.
    pub(crate) fn remove_listed(&mut self, worker_address: &WorkerAddress) {
        self.0.remove(&DisconnectedKey::Listed(worker_address.clone()));
    }

    /// Removes the workers of `name`, which no longer belongs to the list.
    pub(crate) fn remove_named(&mut self, name: &Address) {
        self.0.retain(|key, _| !matches!(key, DisconnectedKey::Listed(WorkerAddress::OfName(_, of)) if of == name));
    }

    /// Returns the addresses of the workers that have this name.
    pub(crate) fn addresses_of(&self, name: &str) -> Vec<String> {
        let named = self.0.values().filter(|entry| entry.worker.name == name);
        named.map(|entry| entry.worker.address.clone()).collect()
    }

    /// Removes the worker `name`. Returns `None` if it is not listed, `Some(None)` if it had joined by itself, and
    /// otherwise the address to which the orchestrator must stop connecting. Removes no worker if several have this
    /// name.
    pub(crate) fn forget_named(&mut self, name: &str) -> Option<Option<WorkerAddress>> {
        if self.addresses_of(name).len() > 1 {
            return None;
        }
        self.take(|found| found.name == name)
    }

    /// Does the same for an address.
    pub(crate) fn forget_at(&mut self, address: &str) -> Option<Option<WorkerAddress>> {
        self.take(|found| found.address == address)
    }

    fn take(&mut self, is_it: impl Fn(&DisconnectedWorker) -> bool) -> Option<Option<WorkerAddress>> {
        let found = self.0.iter().find(|(_, entry)| is_it(&entry.worker));
        let key = found.map(|(key, _)| key.clone())?;
        self.0.remove(&key);
        Some(match key {
            DisconnectedKey::Listed(worker_address) => Some(worker_address),
            DisconnectedKey::Joined { .. } => None,
        })
    }

    pub(crate) fn list(&mut self, now: SystemTime) -> Vec<DisconnectedWorker> {
        self.expire(now);
        self.0.values().map(|entry| entry.worker.clone()).collect()
    }

    fn expire(&mut self, now: SystemTime) {
        self.0.retain(|key, entry| {
            let is_old = now.duration_since(entry.worker.since).is_ok_and(|age| age >= MAX_LISTED_AGE);
            matches!(key, DisconnectedKey::Listed(_)) || !is_old
        });
    }

    /// Makes room for one more worker, which had joined from `network` if that is set.
    fn make_room(&mut self, network: Option<PeerNetwork>, now: SystemTime) {
        let is_of_network = |entry: &DisconnectedEntry| network.is_some() && entry.network == network;
        let of_network = self.0.iter().filter(|(_, entry)| is_of_network(entry));
        let mut ages: Vec<_> = of_network.map(|(key, entry)| (entry.worker.since, key.clone())).collect();
        if ages.len() >= MAX_LISTED_PER_NETWORK {
            ages.sort_unstable();
            self.0.remove(&ages[0].1);
        }
        if self.0.len() >= MAX_LISTED {
            self.expire(now);
        }
        if self.0.len() >= MAX_LISTED {
            self.0.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn joined(last_byte: u8) -> WorkerAddress {
        WorkerAddress::JoinedFrom(([10, 0, 0, last_byte], 1).into())
    }

    fn listed() -> WorkerAddress {
        "10.0.0.2:1".parse().unwrap()
    }

    /// Checks the list `seconds` after the epoch: the name, the reason and the last try of each disconnected worker.
    #[track_caller]
    fn check(workers: &mut DisconnectedWorkers, seconds: u64, expected: &[(&str, &str, Option<&str>)]) {
        let list = workers.list(UNIX_EPOCH + Duration::from_secs(seconds));
        let found: Vec<_> = list
            .iter()
            .map(|worker| (worker.name.as_str(), worker.reason.as_str(), worker.last_try.as_deref()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_worker_of_the_list_is_disconnected_until_it_returns() {
        let mut workers = DisconnectedWorkers::default();
        workers.connection_failed(&listed(), "refused", UNIX_EPOCH);
        check(&mut workers, 0, &[("10.0.0.2:1", "refused", None)]);
        workers.remove_listed(&listed());
        check(&mut workers, 0, &[]);
        workers.add(&listed(), "two", None, "killed", UNIX_EPOCH);
        workers.connection_failed(&listed(), "refused", UNIX_EPOCH);
        check(&mut workers, MAX_LISTED_AGE.as_secs(), &[("two", "killed", Some("refused"))]);
    }

    #[test]
    fn a_joined_worker_is_forgotten_after_ten_minutes() {
        let mut workers = DisconnectedWorkers::default();
        workers.add(&joined(1), "one", None, "killed", UNIX_EPOCH);
        check(&mut workers, 1, &[("one", "killed", None)]);
        check(&mut workers, MAX_LISTED_AGE.as_secs(), &[]);
    }

    #[test]
    fn a_joined_worker_may_return_from_another_address() {
        let mut workers = DisconnectedWorkers::default();
        workers.add(&joined(1), "one", None, "killed", UNIX_EPOCH);
        workers.add(&joined(2), "other", None, "killed", UNIX_EPOCH);
        workers.remove(&joined(3), "one", None);
        check(&mut workers, 1, &[("other", "killed", None)]);
    }

    #[test]
    fn the_name_of_a_worker_does_not_help_another_certificate() {
        let mut workers = DisconnectedWorkers::default();
        let [own, other] = ["a", "b"].map(|name| name.parse::<PeerName>().unwrap());
        workers.add(&joined(1), "one", Some(&own), "killed", UNIX_EPOCH);
        workers.remove(&joined(1), "one", Some(&other));
        workers.remove(&joined(1), "one", None);
        check(&mut workers, 1, &[("one", "killed", None)]);
        workers.remove(&joined(2), "one", Some(&own));
        check(&mut workers, 1, &[]);
    }

    #[test]
    fn one_address_does_not_fill_the_list() {
        let mut workers = DisconnectedWorkers::default();
        workers.add(&joined(1), "honest", None, "killed", UNIX_EPOCH);
        for seconds in 0..3 * MAX_LISTED_PER_NETWORK as u64 {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            workers.add(&joined(2), &format!("name-{seconds}"), None, "killed", now);
        }
        let list = workers.list(UNIX_EPOCH);
        assert_eq!(list.len(), 1 + MAX_LISTED_PER_NETWORK);
        assert!(list.iter().any(|worker| worker.name == "honest"));
        assert!(list.iter().all(|worker| worker.name != "name-0"));
    }

    #[test]
    fn workers_are_forgotten_by_name_or_address() {
        let mut workers = DisconnectedWorkers::default();
        workers.add(&listed(), "two", None, "killed", UNIX_EPOCH);
        workers.add(&joined(1), "one", None, "killed", UNIX_EPOCH);
        assert_eq!(workers.forget_named("three"), None);
        assert_eq!(workers.forget_named("10.0.0.2:1"), None);
        assert_eq!(workers.forget_at("two"), None);
        assert_eq!(workers.forget_at("10.0.0.2:1"), Some(Some(listed())));
        assert_eq!(workers.forget_named("one"), Some(None));
        check(&mut workers, 1, &[]);
    }

    #[test]
    fn a_name_of_two_workers_forgets_none_of_them() {
        let mut workers = DisconnectedWorkers::default();
        workers.add(&listed(), "one", None, "killed", UNIX_EPOCH);
        workers.add(&joined(1), "one", None, "killed", UNIX_EPOCH);
        assert_eq!(workers.forget_named("one"), None);
        assert_eq!(workers.addresses_of("one"), ["10.0.0.2:1", "joined from 10.0.0.1:1"]);
        assert_eq!(workers.forget_at("joined from 10.0.0.1:1"), Some(None));
        assert_eq!(workers.forget_named("one"), Some(Some(listed())));
        check(&mut workers, 1, &[]);
    }
}
