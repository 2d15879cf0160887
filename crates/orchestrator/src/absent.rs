//! Disconnected workers: workers that should be connected and are not.

use crate::list::Member;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// How long a worker that had joined by itself stays listed after it left. It may never come back.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// Maximum number of disconnected workers that are listed.
const MOST: usize = 10_000;

/// A worker that was connected, or that is in the list, and that is not connected now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentWorker {
    /// Its name, or its address if it has never reported a name.
    pub name: String,
    /// The address at which it is called, or from which it joined.
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
enum Key {
    Called(Member),
    Joined(String),
}

impl Key {
    fn new(member: &Member, name: &str) -> Self {
        match member {
            Member::Joined(_) => Self::Joined(name.to_owned()),
            Member::Remote(_) | Member::Local => Self::Called(member.clone()),
        }
    }
}

/// Returns true if both are the same worker.
pub(crate) fn is_same(member: &Member, name: &str, other: &Member, other_name: &str) -> bool {
    Key::new(member, name) == Key::new(other, other_name)
}

#[derive(Debug, Default)]
pub(crate) struct Absences(BTreeMap<Key, AbsentWorker>);

impl Absences {
    /// Lists the worker `name`, which has left.
    pub(crate) fn left(&mut self, member: &Member, name: &str, reason: &str, now: SystemTime) {
        self.make_room(now);
        let (name, address, reason) = (name.to_owned(), member.to_string(), reason.to_owned());
        self.0.insert(Key::new(member, &name), AbsentWorker { name, address, since: now, reason, last_try: None });
    }

    /// Records that a connection to `member` failed.
    pub(crate) fn called_in_vain(&mut self, member: &Member, reason: &str, now: SystemTime) {
        let address = member.to_string();
        match self.0.get_mut(&Key::Called(member.clone())) {
            Some(absent) => absent.last_try = Some(reason.to_owned()),
            None => self.left(member, &address, reason, now),
        }
    }

    /// Removes the worker `name`, because it is connected or no longer expected.
    pub(crate) fn remove(&mut self, member: &Member, name: &str) {
        self.0.remove(&Key::new(member, name));
    }

    /// Removes `worker`, given by name or address. Returns `None` if it is not listed, `Some(None)` if it had joined by
    /// itself, and otherwise the member to which the orchestrator must stop connecting.
    pub(crate) fn forget(&mut self, worker: &str) -> Option<Option<Member>> {
        self.take(|absent| absent.name == worker || absent.address == worker)
    }

    /// Does the same for an address only.
    pub(crate) fn forget_at(&mut self, address: &str) -> Option<Option<Member>> {
        self.take(|absent| absent.address == address)
    }

    fn take(&mut self, is_it: impl Fn(&AbsentWorker) -> bool) -> Option<Option<Member>> {
        let found = self.0.iter().find(|(_, absent)| is_it(absent));
        let key = found.map(|(key, _)| key.clone())?;
        self.0.remove(&key);
        Some(match key {
            Key::Called(member) => Some(member),
            Key::Joined(..) => None,
        })
    }

    pub(crate) fn list(&mut self, now: SystemTime) -> Vec<AbsentWorker> {
        self.expire(now);
        self.0.values().cloned().collect()
    }

    fn expire(&mut self, now: SystemTime) {
        self.0.retain(|key, absent| {
            let is_old = now.duration_since(absent.since).is_ok_and(|age| age >= REMEMBERED);
            matches!(key, Key::Called(_)) || !is_old
        });
    }

    fn make_room(&mut self, now: SystemTime) {
        if self.0.len() >= MOST {
            self.expire(now);
        }
        if self.0.len() >= MOST {
            self.0.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn joined(host: u8) -> Member {
        Member::Joined(([10, 0, 0, host], 1).into())
    }

    fn called() -> Member {
        "10.0.0.2:1".parse().unwrap()
    }

    /// Checks the list `seconds` after the epoch: the name, the reason and the last try of each disconnected worker.
    #[track_caller]
    fn check(absences: &mut Absences, seconds: u64, expected: &[(&str, &str, Option<&str>)]) {
        let list = absences.list(UNIX_EPOCH + Duration::from_secs(seconds));
        let found: Vec<_> = list
            .iter()
            .map(|absent| (absent.name.as_str(), absent.reason.as_str(), absent.last_try.as_deref()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_worker_of_the_list_is_disconnected_until_it_returns() {
        let mut absences = Absences::default();
        absences.called_in_vain(&called(), "refused", UNIX_EPOCH);
        check(&mut absences, 0, &[("10.0.0.2:1", "refused", None)]);
        absences.remove(&called(), "two");
        check(&mut absences, 0, &[]);
        absences.left(&called(), "two", "killed", UNIX_EPOCH);
        absences.called_in_vain(&called(), "refused", UNIX_EPOCH);
        check(&mut absences, REMEMBERED.as_secs(), &[("two", "killed", Some("refused"))]);
    }

    #[test]
    fn a_joined_worker_is_forgotten_after_ten_minutes() {
        let mut absences = Absences::default();
        absences.left(&joined(1), "one", "killed", UNIX_EPOCH);
        check(&mut absences, 1, &[("one", "killed", None)]);
        check(&mut absences, REMEMBERED.as_secs(), &[]);
    }

    #[test]
    fn a_joined_worker_may_return_from_another_address() {
        let mut absences = Absences::default();
        absences.left(&joined(1), "one", "killed", UNIX_EPOCH);
        absences.left(&joined(2), "other", "killed", UNIX_EPOCH);
        absences.remove(&joined(3), "one");
        check(&mut absences, 1, &[("other", "killed", None)]);
    }

    #[test]
    fn workers_are_forgotten_by_name_or_address() {
        let mut absences = Absences::default();
        absences.left(&called(), "two", "killed", UNIX_EPOCH);
        absences.left(&joined(1), "one", "killed", UNIX_EPOCH);
        assert_eq!(absences.forget("three"), None);
        assert_eq!(absences.forget_at("two"), None);
        assert_eq!(absences.forget("10.0.0.2:1"), Some(Some(called())));
        assert_eq!(absences.forget("one"), Some(None));
        check(&mut absences, 1, &[]);
    }
}
