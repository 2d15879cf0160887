//! Whether the orchestrator reaches each worker of its list.
//!
//! Each worker's connection task owns its entry. Other parts read all entries: to wait for the first worker, and to say
//! why a proof has no worker.

use super::{reach_error::ReachError, unreachable::Unreachable, worker_address::WorkerAddress};
use crate::describe_first_workers::describe_first_workers;
use sp1d_protocol::{Address, PreambleError, QueuePlace};
use std::{collections::BTreeMap, sync::Arc};

/// Whether the orchestrator reaches a worker of the list.
#[derive(Debug, Clone)]
pub(crate) enum Contact {
    /// The orchestrator connects to the worker, and the outcome is not known yet.
    Connecting,
    /// The worker is connected.
    Connected,
    /// The worker serves another orchestrator, and this one waits for its turn.
    Waiting(QueuePlace),
    /// The worker serves another orchestrator, and no proof of this one needs it now.
    NotNeeded,
    /// The last time, the orchestrator could not connect.
    Unreachable(Arc<ReachError>),
}

/// All workers of the list.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    members: BTreeMap<WorkerAddress, Contact>,
    advances: u64,
}

impl Contacts {
    /// Adds a worker to which the orchestrator connects from now on.
    pub(crate) fn add(&mut self, worker_address: WorkerAddress) {
        self.members.insert(worker_address, Contact::Connecting);
    }

    /// Removes a worker that no longer belongs to the list.
    pub(crate) fn remove(&mut self, worker_address: &WorkerAddress) {
        self.members.remove(worker_address);
    }

    /// Removes the workers of `name`, which no longer belongs to the list.
    pub(crate) fn remove_named(&mut self, name: &Address) {
        self.members.retain(|worker_address, _| !matches!(worker_address, WorkerAddress::OfName(_, of) if of == name));
    }

    /// Sets the state of a worker. Returns false if the worker does not belong to the list.
    pub(crate) fn set(&mut self, worker_address: &WorkerAddress, contact: Contact) -> bool {
        let Some(found) = self.members.get_mut(worker_address) else { return false };
        if let (Contact::Waiting(before), Contact::Waiting(now)) = (&*found, &contact)
            && now.place < before.place
        {
            self.advances += 1;
        }
        *found = contact;
        true
    }

    /// Returns how often this orchestrator has moved up in the queue of a worker.
    pub(crate) fn advances(&self) -> u64 {
        self.advances
    }

    /// Returns true if the outcome of all connections is known. As soon as a proof starts, the orchestrator
    /// connects to a worker that was not needed.
    pub(crate) fn are_settled(&self) -> bool {
        !self.members.values().any(|contact| matches!(contact, Contact::Connecting | Contact::NotNeeded))
    }

    /// Returns true if a worker may be connected soon: the orchestrator connects to it, or it serves another
    /// orchestrator and can be waited for.
    pub(crate) fn is_any_expected(&self) -> bool {
        let is_expected =
            |contact: &Contact| matches!(contact, Contact::Connecting | Contact::Waiting(_) | Contact::NotNeeded);
        self.members.values().any(is_expected)
    }

    /// Returns true if a worker is there, whichever orchestrator it serves.
    pub(crate) fn is_any_reached(&self) -> bool {
        let is_reached =
            |contact: &Contact| matches!(contact, Contact::Connected | Contact::Waiting(_) | Contact::NotNeeded);
        self.members.values().any(is_reached)
    }

    /// Returns true if the list has a worker, and the last connection to each worker could not be established.
    pub(crate) fn are_all_unreachable(&self) -> bool {
        let is_unreachable = |contact: &Contact| matches!(contact, Contact::Unreachable(_));
        !self.members.is_empty() && self.members.values().all(is_unreachable)
    }

    /// Returns true if a worker may be reached later without a change on this side or on the worker's machine.
    pub(crate) fn can_any_become_reachable(&self) -> bool {
        let can_become_reachable = |contact: &Contact| match contact {
            Contact::Unreachable(reason) => reason.is_transient(),
            Contact::Connecting | Contact::Connected | Contact::Waiting(_) | Contact::NotNeeded => true,
        };
        self.members.values().any(can_become_reachable)
    }

    /// Returns the workers to which the last connection could not be established.
    pub(crate) fn unreachable(&self) -> Vec<Unreachable> {
        let failed = |(worker, contact): (&WorkerAddress, &Contact)| match contact {
            Contact::Unreachable(reason) => Some(Unreachable { worker: worker.clone(), reason: reason.clone() }),
            Contact::Connecting | Contact::Connected | Contact::Waiting(_) | Contact::NotNeeded => None,
        };
        self.members.iter().filter_map(failed).collect()
    }

    /// Describes the first workers that serve other orchestrators, and names those orchestrators. Then follows the
    /// number of the other such workers.
    pub(crate) fn serving_others(&self) -> Vec<String> {
        let described = |(worker, contact): (&WorkerAddress, &Contact)| match contact {
            Contact::Waiting(place) => Some(format!("{worker} is {place}")),
            Contact::Unreachable(reason) => match &**reason {
                ReachError::Preamble(PreambleError::Busy(busy)) => Some(format!("{worker} is {busy}")),
                _ => None,
            },
            Contact::Connecting | Contact::Connected | Contact::NotNeeded => None,
        };
        describe_first_workers(self.members.iter().filter_map(described), |text| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_protocol::BusyWorker;
    use std::time::Duration;

    fn worker_address(port: u16) -> WorkerAddress {
        std::net::SocketAddr::from(([10, 0, 0, 1], port)).into()
    }

    fn waiting(place: u32) -> Contact {
        let (holder, holder_id) = ("sp1d at 10.0.0.9:1".to_owned(), None);
        Contact::Waiting(QueuePlace { place, holder, holder_id, held: Duration::from_secs(5) })
    }

    fn unreachable(reason: ReachError) -> Contact {
        Contact::Unreachable(Arc::new(reason))
    }

    fn contacts(states: impl IntoIterator<Item = Contact>) -> Contacts {
        let mut contacts = Contacts::default();
        for (contact, port) in states.into_iter().zip(1..) {
            contacts.add(worker_address(port));
            assert!(contacts.set(&worker_address(port), contact));
        }
        contacts
    }

    /// Checks, in this order: all settled, any expected, any reached, all unreachable, can any become reachable.
    #[track_caller]
    fn check(states: impl IntoIterator<Item = Contact>, expected: [bool; 5]) {
        let found = contacts(states);
        let summary = [
            found.are_settled(),
            found.is_any_expected(),
            found.is_any_reached(),
            found.are_all_unreachable(),
            found.can_any_become_reachable(),
        ];
        assert_eq!(summary, expected, "{found:?}");
    }

    #[test]
    fn the_states_of_all_workers_are_summarized() {
        let refused = || unreachable(ReachError::ConnectionRefused);
        let foreign = || unreachable(ReachError::Preamble(PreambleError::Magic));
        check([], [true, false, false, false, false]);
        check([Contact::Connecting], [false, true, false, false, true]);
        check([Contact::Connected], [true, false, true, false, true]);
        check([waiting(1)], [true, true, true, false, true]);
        check([Contact::NotNeeded], [false, true, true, false, true]);
        check([refused()], [true, false, false, true, true]);
        check([foreign()], [true, false, false, true, false]);
        check([foreign(), refused()], [true, false, false, true, true]);
        check([foreign(), Contact::Connected], [true, false, true, false, true]);
    }

    #[test]
    fn taken_workers_are_described_with_their_orchestrators() {
        let busy = BusyWorker { text: "serving another for 3 s".to_owned(), holder: None };
        let full = unreachable(ReachError::Preamble(PreambleError::Busy(busy)));
        let expected = [
            "10.0.0.1:1 is serving sp1d at 10.0.0.9:1 for 5 s, place 2 in its queue",
            "10.0.0.1:2 is serving another for 3 s",
        ];
        assert_eq!(contacts([waiting(2), full, Contact::Connected]).serving_others(), expected);
    }

    #[test]
    fn only_the_first_taken_workers_are_described() {
        let described = contacts((0..4096).map(|_| waiting(1))).serving_others();
        assert_eq!((described.len(), described.last().unwrap().as_str()), (11, "and 4086 more"));
    }

    #[test]
    fn only_a_better_place_counts_as_an_advance() {
        let mut contacts = contacts([Contact::Connecting]);
        for (place, advances) in [(3, 0), (3, 0), (2, 1), (1, 2), (4, 2)] {
            contacts.set(&worker_address(1), waiting(place));
            assert_eq!(contacts.advances(), advances, "place {place}");
        }
    }

    #[test]
    fn a_removed_worker_is_not_set_again() {
        let mut contacts = contacts([Contact::Connected]);
        contacts.remove(&worker_address(1));
        assert!(!contacts.set(&worker_address(1), Contact::Connecting));
        assert!(!contacts.is_any_expected());
    }

    #[test]
    fn the_workers_of_a_removed_name_are_removed() {
        let mut contacts = contacts([Contact::Connected]);
        let [name, other] = ["one.example:8081", "two.example:8081"].map(|name| name.parse::<Address>().unwrap());
        for name in [&name, &other] {
            contacts.add(WorkerAddress::OfName(([10, 0, 0, 2], 8081).into(), name.clone()));
        }
        contacts.remove_named(&name);
        let left: Vec<_> = contacts.members.keys().collect();
        assert_eq!(left, [&worker_address(1), &WorkerAddress::OfName(([10, 0, 0, 2], 8081).into(), other)]);
    }
}
