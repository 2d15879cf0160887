//! Which worker is which over all its sessions, and where workers come from.
//!
//! With TLS, the certificate of a worker proves who it is. Without TLS, its address and its name are all that is known.
//! A worker chooses its name itself, so the name alone does not identify it here. The list of disconnected workers is
//! less strict: see `disconnected`.

use super::worker_address::WorkerAddress;
use crate::settings::WorkerOrigins;
use sp1d_identity::{PeerIdentity, PeerName};
use sp1d_protocol::PeerNetwork;
use sp1d_scheduler::{OriginId, WorkerId};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of identities that are remembered. It exceeds the largest worker list, whose workers are only
    /// forgotten when the list loses them. Any other worker that is forgotten only loses its learned durations: its
    /// origin's faults are remembered by the scheduler.
    const MAX_IDENTITIES: usize = 16_384; Count by Worker;
    /// Maximum number of names of one certificate, one address, or one IPv6 network of 64 bits, that are remembered. A
    /// peer that joins under ever new names does not make the orchestrator forget others.
    const MAX_NAMES_PER_PEER: usize = 256; Count by Worker;
}

/// A worker over all its sessions, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkerIdentity {
    pub(crate) id: WorkerId,
    pub(crate) origin: OriginId,
}

/// What identifies a worker.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum IdentityKey {
    /// A worker of the list: its entry, whatever its name is.
    Listed(WorkerAddress),
    /// A worker that joined, or one of several workers of a name: its address and its name. The port of a worker that
    /// joins differs in each session. A name may stand for other workers every day.
    Joined { address: IpAddr, name: String },
    /// A worker with a certificate, wherever it is: the name in the certificate, and the name that it chose. Several
    /// workers of one machine can use one certificate.
    Certified { certificate: PeerName, name: String },
}

/// What all names of one worker, or of one place, share.
#[derive(Debug, PartialEq, Eq)]
enum NameOwner<'a> {
    Network(PeerNetwork),
    Certificate(&'a PeerName),
}

impl IdentityKey {
    /// Returns what bounds the number of names; `None` for a worker of the list, which the user has written down.
    fn owner(&self) -> Option<NameOwner<'_>> {
        match self {
            Self::Joined { address, .. } => Some(NameOwner::Network((*address).into())),
            Self::Certified { certificate, .. } => Some(NameOwner::Certificate(certificate)),
            Self::Listed(_) => None,
        }
    }
}

/// The identities of all workers that are or were connected.
#[derive(Debug)]
pub(crate) struct WorkerIdentities {
    rule: WorkerOrigins,
    ids: BTreeMap<IdentityKey, WorkerId>,
    /// The IP address at which each worker of the list was last reached. Its entry may have a host name instead.
    reached: BTreeMap<WorkerAddress, IpAddr>,
    next: u64,
}

impl WorkerIdentities {
    pub(crate) const fn new(rule: WorkerOrigins) -> Self {
        Self { rule, ids: BTreeMap::new(), reached: BTreeMap::new(), next: 1 }
    }

    /// Notes that the worker `worker_address` of the list was reached at `address`.
    pub(crate) fn note_reached(&mut self, worker_address: &WorkerAddress, address: IpAddr) {
        self.reached.insert(worker_address.clone(), address);
    }

    /// Forgets the worker `worker_address`, which the list no longer has.
    pub(crate) fn forget_listed(&mut self, worker_address: &WorkerAddress) {
        self.ids.remove(&IdentityKey::Listed(worker_address.clone()));
        self.reached.remove(worker_address);
    }

    /// Returns the identity of the worker `name` at `worker_address`, whose certificate is of `peer`. `connected` are
    /// the workers that must not be forgotten.
    pub(crate) fn identify(
        &mut self,
        name: &str,
        worker_address: &WorkerAddress,
        peer: Option<&PeerIdentity>,
        connected: &BTreeSet<WorkerId>,
    ) -> WorkerIdentity {
        if let Some(peer) = peer {
            let key = IdentityKey::Certified { certificate: peer.name.clone(), name: name.to_owned() };
            let id = self.id_of(key, connected);
            return WorkerIdentity { id, origin: origin_of_certificate(peer) };
        }
        let key = match worker_address {
            WorkerAddress::JoinedFrom(peer) | WorkerAddress::OfName(peer, _) => {
                IdentityKey::Joined { address: peer.ip().to_canonical(), name: name.to_owned() }
            }
            WorkerAddress::Listed(_) | WorkerAddress::Local => IdentityKey::Listed(worker_address.clone()),
        };
        let id = self.id_of(key, connected);
        WorkerIdentity { id, origin: origin(self.rule, id, worker_address, self.reached.get(worker_address).copied()) }
    }

    fn id_of(&mut self, key: IdentityKey, connected: &BTreeSet<WorkerId>) -> WorkerId {
        if let Some(known) = self.ids.get(&key) {
            return *known;
        }
        if let Some(owner) = key.owner() {
            self.make_room(&owner, connected);
        }
        let id = WorkerId(self.next);
        self.next += 1;
        self.ids.insert(key, id);
        id
    }

    /// Forgets the oldest disconnected worker of `owner`, or of anyone, if there are too many. Keeps the workers of the
    /// list.
    fn make_room(&mut self, owner: &NameOwner<'_>, connected: &BTreeSet<WorkerId>) {
        let of_owner = self.ids.keys().filter(|key| key.owner().as_ref() == Some(owner)).count();
        let must_be_of_owner = of_owner >= MAX_NAMES_PER_PEER;
        if !must_be_of_owner && self.ids.len() < MAX_IDENTITIES {
            return;
        }
        let may_go = |key: &IdentityKey| key.owner().is_some_and(|of| !must_be_of_owner || of == *owner);
        let oldest = self
            .ids
            .iter()
            .filter(|(key, id)| may_go(key) && !connected.contains(*id))
            .min_by_key(|(_, id)| **id)
            .map(|(_, id)| *id);
        if let Some(oldest) = oldest {
            self.ids.retain(|_, id| *id != oldest);
        }
    }
}

/// Returns the origin of a worker with a certificate: its group, wherever it is. Without a group, the certificate
/// itself is the origin.
fn origin_of_certificate(peer: &PeerIdentity) -> OriginId {
    /// The first two bytes of a multicast address, which no peer has and no other origin uses.
    const PREFIX: u128 = 0xff00 << 112;
    OriginId(PREFIX | (u128::from_be_bytes(peer.operator_digest()) >> 16))
}

/// Returns the origin of the worker `id` at `worker_address`. `reached` is the address at which a worker of the list
/// was reached.
fn origin(rule: WorkerOrigins, id: WorkerId, worker_address: &WorkerAddress, reached: Option<IpAddr>) -> OriginId {
    /// Numbers from here on are those of single workers. Lower ones are ports.
    const FIRST_WORKER: u64 = 1 << 32;
    // No peer has such an address: it is in the range for multicast.
    let of_no_network = |number: u64| OriginId(!u128::from(u64::MAX) | u128::from(number));
    let of_network = |address: IpAddr| OriginId(PeerNetwork::from(address).to_bits());
    if rule == WorkerOrigins::ByName {
        return of_no_network(FIRST_WORKER + id.0);
    }
    match (worker_address, reached) {
        (WorkerAddress::Local, _) => of_no_network(0),
        (WorkerAddress::JoinedFrom(peer), _) => of_network(peer.ip()),
        (WorkerAddress::OfName(address, _), _) if address.ip().to_canonical().is_loopback() => {
            of_no_network(address.port().into())
        }
        (WorkerAddress::OfName(address, _), _) => of_network(address.ip()),
        // The user has listed these processes of this machine one by one.
        (WorkerAddress::Listed(address), Some(reached)) if reached.to_canonical().is_loopback() => {
            of_no_network(address.port().into())
        }
        (WorkerAddress::Listed(_), Some(reached)) => of_network(reached),
        (WorkerAddress::Listed(_), None) => of_no_network(FIRST_WORKER + id.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_identity::PeerRole;
    use std::net::SocketAddr;

    fn joined(address: &str) -> WorkerAddress {
        WorkerAddress::JoinedFrom(address.parse::<SocketAddr>().unwrap())
    }

    fn identify(identities: &mut WorkerIdentities, name: &str, worker_address: &WorkerAddress) -> WorkerIdentity {
        identities.identify(name, worker_address, None, &BTreeSet::new())
    }

    /// Identifies two workers, each with its name, its own address and the address at which it is reached. Checks
    /// whether they are the same worker, and whether they have the same origin.
    #[track_caller]
    fn check(
        rule: WorkerOrigins,
        workers: [(&str, WorkerAddress, Option<&str>); 2],
        is_same_worker: bool,
        is_same_origin: bool,
    ) {
        let mut identities = WorkerIdentities::new(rule);
        let [one, other] = workers.clone().map(|(name, worker_address, reached)| {
            if let Some(reached) = reached {
                identities.note_reached(&worker_address, reached.parse().unwrap());
            }
            identify(&mut identities, name, &worker_address)
        });
        assert_eq!((one.id == other.id, one.origin == other.origin), (is_same_worker, is_same_origin), "{workers:?}");
    }

    #[test]
    fn address_and_name_identify_a_worker_that_joins() {
        use WorkerOrigins::ByAddress;
        let of = |name, address| (name, joined(address), None);
        check(ByAddress, [of("one", "10.0.0.1:5"), of("one", "10.0.0.1:6")], true, true);
        check(ByAddress, [of("one", "10.0.0.1:5"), of("two", "10.0.0.1:6")], false, true);
        check(ByAddress, [of("one", "10.0.0.1:5"), of("one", "10.0.0.2:5")], false, false);
        check(ByAddress, [of("one", "10.0.0.1:5"), of("one", "[::ffff:10.0.0.1]:5")], true, true);
        check(ByAddress, [of("one", "[2001:db8::1]:5"), of("one", "[2001:db8::2]:5")], false, true);
    }

    #[test]
    fn its_entry_identifies_a_worker_of_the_list() {
        use WorkerOrigins::ByAddress;
        let of = |name, entry: &str, reached| (name, entry.parse::<WorkerAddress>().unwrap(), Some(reached));
        check(ByAddress, [of("one", "a:1", "10.0.0.1"), of("two", "a:1", "10.0.0.1")], true, true);
        check(ByAddress, [of("one", "a:1", "10.0.0.1"), of("one", "b:1", "10.0.0.1")], false, true);
        check(ByAddress, [of("one", "a:1", "10.0.0.1"), ("one", joined("10.0.0.1:9"), None)], false, true);
        check(ByAddress, [of("one", "127.0.0.1:1", "127.0.0.1"), of("two", "127.0.0.1:2", "127.0.0.1")], false, false);
        check(ByAddress, [of("one", "127.0.0.1:1", "127.0.0.1"), ("two", WorkerAddress::Local, None)], false, false);
    }

    #[test]
    fn the_user_can_say_that_names_are_independent() {
        let of = |name, address| (name, joined(address), None);
        let workers = [of("one", "10.0.0.1:5"), of("two", "10.0.0.1:6")];
        check(WorkerOrigins::ByName, workers, false, false);
    }

    /// Identifies two workers with certificates, each with the name and the group of its certificate, its own name and
    /// its address. Checks whether they are the same worker, and whether they have the same origin.
    #[track_caller]
    fn check_certified(workers: [(&str, Option<&str>, &str, &str); 2], is_same_worker: bool, is_same_origin: bool) {
        let mut identities = WorkerIdentities::new(WorkerOrigins::ByAddress);
        let [one, other] = workers.map(|(certificate, group, name, address)| {
            let group = group.map(|group| group.parse().unwrap());
            let peer =
                PeerIdentity { role: PeerRole::Worker, name: certificate.parse().unwrap(), group, trusted: false };
            identities.identify(name, &joined(address), Some(&peer), &BTreeSet::new())
        });
        assert_eq!((one.id == other.id, one.origin == other.origin), (is_same_worker, is_same_origin), "{workers:?}");
    }

    #[test]
    fn certificate_and_name_identify_a_worker() {
        let (here, there) = ("10.0.0.1:5", "10.0.0.2:5");
        check_certified([("a", None, "one", here), ("a", None, "one", there)], true, true);
        check_certified([("a", None, "one", here), ("b", None, "one", here)], false, false);
        // A worker that changes only its own name keeps its origin, and so its faults.
        check_certified([("a", None, "one", here), ("a", None, "two", here)], false, true);
        check_certified([("a", Some("g"), "one", here), ("b", Some("g"), "one", there)], false, true);
        check_certified([("a", Some("g"), "one", here), ("a", Some("h"), "one", here)], true, false);
    }

    #[test]
    fn names_of_one_address_are_forgotten_before_those_of_others() {
        let mut identities = WorkerIdentities::new(WorkerOrigins::ByAddress);
        let honest = identify(&mut identities, "honest", &joined("10.0.0.1:1"));
        let first = identify(&mut identities, "0", &joined("10.0.0.2:1"));
        let connected = [first.id].into();
        for name in 1..3 * MAX_NAMES_PER_PEER {
            identities.identify(&name.to_string(), &joined("10.0.0.2:1"), None, &connected);
        }
        assert_eq!(identities.ids.len(), 1 + MAX_NAMES_PER_PEER);
        assert_eq!(identify(&mut identities, "honest", &joined("10.0.0.1:2")), honest);
        assert_eq!(identify(&mut identities, "0", &joined("10.0.0.2:2")), first);
    }
}
