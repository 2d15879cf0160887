//! Disconnected workers: workers that should be connected and are not.

use super::list::Member;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// How long a worker that had joined by itself stays listed after it left. It may never come back.
const MAX_LISTED_AGE: Duration = Duration::from_secs(10 * 60);

/// Maximum number of disconnected workers that are listed.
const MAX_LISTED: usize = 10_000;

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

/// Identifies a disconnected worker. A worker that joins comes from a different port each time, and often from a
/// different address, so its name identifies it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum DisconnectedKey {
    Listed(Member),
    Joined(String),
}

impl DisconnectedKey {
    fn new(member: &Member, name: &str) -> Self {
        match member {
            Member::Joined(_) => Self::Joined(name.to_owned()),
            Member::Remote(_) | Member::Local => Self::Listed(member.clone()),
        }
    }
}

/// Returns true if both are the same worker.
pub(crate) fn is_same(member: &Member, name: &str, other: &Member, other_name: &str) -> bool {
    DisconnectedKey::new(member, name) == DisconnectedKey::new(other, other_name)
}

/// All disconnected workers.
#[derive(Debug, Default)]
pub(crate) struct DisconnectedWorkers(BTreeMap<DisconnectedKey, DisconnectedWorker>);

impl DisconnectedWorkers {
    /// Lists the worker `name`, which has left.
    pub(crate) fn left(&mut self, member: &Member, name: &str, reason: &str, now: SystemTime) {
        self.make_room(now);
        let (name, address, reason) = (name.to_owned(), member.to_string(), reason.to_owned());
        self.0.insert(
            DisconnectedKey::new(member, &name),
            DisconnectedWorker { name, address, since: now, reason, last_try: None },
        );
    }

    /// Records that a connection to `member` failed.
    pub(crate) fn connection_failed(&mut self, member: &Member, reason: &str, now: SystemTime) {
        let address = member.to_string();
        match self.0.get_mut(&DisconnectedKey::Listed(member.clone())) {
            Some(worker) => worker.last_try = Some(reason.to_owned()),
            None => self.left(member, &address, reason, now),
        }
    }

    /// Removes the worker `name`, because it is connected or no longer expected.
    pub(crate) fn remove(&mut self, member: &Member, name: &str) {
        self.0.remove(&DisconnectedKey::new(member, name));
    }

    /// Removes `worker`, given by name or address. Returns `None` if it is not listed, `Some(None)` if it had joined by
    /// itself, and otherwise the member to which the orchestrator must stop connecting.
    pub(crate) fn forget(&mut self, worker: &str) -> Option<Option<Member>> {
        self.take(|found| found.name == worker || found.address == worker)
    }

    /// Does the same for an address only.
    pub(crate) fn forget_at(&mut self, address: &str) -> Option<Option<Member>> {
        self.take(|found| found.address == address)
    }

    fn take(&mut self, is_it: impl Fn(&DisconnectedWorker) -> bool) -> Option<Option<Member>> {
        let found = self.0.iter().find(|(_, worker)| is_it(worker));
        let key = found.map(|(key, _)| key.clone())?;
        self.0.remove(&key);
        Some(match key {
            DisconnectedKey::Listed(member) => Some(member),
            DisconnectedKey::Joined(..) => None,
        })
    }

    pub(crate) fn list(&mut self, now: SystemTime) -> Vec<DisconnectedWorker> {
        self.expire(now);
        self.0.values().cloned().collect()
    }

    fn expire(&mut self, now: SystemTime) {
        self.0.retain(|key, worker| {
            let is_old = now.duration_since(worker.since).is_ok_and(|age| age >= MAX_LISTED_AGE);
            matches!(key, DisconnectedKey::Listed(_)) || !is_old
        });
    }

    fn make_room(&mut self, now: SystemTime) {
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

    fn joined(last_byte: u8) -> Member {
        Member::Joined(([10, 0, 0, last_byte], 1).into())
    }

    fn listed() -> Member {
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
        workers.remove(&listed(), "two");
        check(&mut workers, 0, &[]);
        workers.left(&listed(), "two", "killed", UNIX_EPOCH);
        workers.connection_failed(&listed(), "refused", UNIX_EPOCH);
        check(&mut workers, MAX_LISTED_AGE.as_secs(), &[("two", "killed", Some("refused"))]);
    }

    #[test]
    fn a_joined_worker_is_forgotten_after_ten_minutes() {
        let mut workers = DisconnectedWorkers::default();
        workers.left(&joined(1), "one", "killed", UNIX_EPOCH);
        check(&mut workers, 1, &[("one", "killed", None)]);
        check(&mut workers, MAX_LISTED_AGE.as_secs(), &[]);
    }

    #[test]
    fn a_joined_worker_may_return_from_another_address() {
        let mut workers = DisconnectedWorkers::default();
        workers.left(&joined(1), "one", "killed", UNIX_EPOCH);
        workers.left(&joined(2), "other", "killed", UNIX_EPOCH);
        workers.remove(&joined(3), "one");
        check(&mut workers, 1, &[("other", "killed", None)]);
    }

    #[test]
    fn workers_are_forgotten_by_name_or_address() {
        let mut workers = DisconnectedWorkers::default();
        workers.left(&listed(), "two", "killed", UNIX_EPOCH);
        workers.left(&joined(1), "one", "killed", UNIX_EPOCH);
        assert_eq!(workers.forget("three"), None);
        assert_eq!(workers.forget_at("two"), None);
        assert_eq!(workers.forget("10.0.0.2:1"), Some(Some(listed())));
        assert_eq!(workers.forget("one"), Some(None));
        check(&mut workers, 1, &[]);
    }
}
