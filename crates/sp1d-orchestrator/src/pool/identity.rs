//! Which worker is which over all its sessions, and where workers come from.
//!
//! There is no proof of identity yet: an address and a name are all that is known of a worker. Names alone are chosen
//! by the worker, so they never identify it.

use super::list::Member;
use crate::settings::WorkerOrigins;
use sp1d_protocol::PeerNetwork;
use sp1d_scheduler::{OriginId, WorkerId};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

sp1d_model::limits! {
    /// Maximum number of identities that are remembered. It exceeds the largest worker list, and a worker that is
    /// forgotten only loses its learned durations: its origin's faults are remembered by the scheduler.
    const MAX_IDENTITIES: usize = 16_384; Count by Worker;
    /// Maximum number of names of one address, or of one IPv6 network of 64 bits, that are remembered. A peer that
    /// joins under ever new names does not make the orchestrator forget others.
    const MAX_NAMES_PER_NETWORK: usize = 256; Count by Worker;
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
    Listed(Member),
    /// A worker that joined, or one of several workers of a name: its address and its name. The port of a worker that
    /// joins differs in each session. A name may stand for other workers every day.
    Joined { address: IpAddr, name: String },
}

/// The identities of all workers that are or were connected.
#[derive(Debug)]
pub(crate) struct WorkerIdentities {
    rule: WorkerOrigins,
    ids: BTreeMap<IdentityKey, WorkerId>,
    /// The IP address at which each worker of the list was last reached. Its entry may have a host name instead.
    reached: BTreeMap<Member, IpAddr>,
    next: u64,
}

impl WorkerIdentities {
    pub(crate) const fn new(rule: WorkerOrigins) -> Self {
        Self { rule, ids: BTreeMap::new(), reached: BTreeMap::new(), next: 1 }
    }

    /// Notes that the worker `member` of the list was reached at `address`.
    pub(crate) fn note_reached(&mut self, member: &Member, address: IpAddr) {
        self.reached.insert(member.clone(), address);
    }

    /// Returns the identity of the worker `name` at `member`. `connected` are the workers that must not be forgotten.
    pub(crate) fn identify(&mut self, name: &str, member: &Member, connected: &BTreeSet<WorkerId>) -> WorkerIdentity {
        let key = match member {
            Member::Joined(peer) | Member::Named(peer, _) => {
                IdentityKey::Joined { address: peer.ip().to_canonical(), name: name.to_owned() }
            }
            Member::Remote(_) | Member::Local => IdentityKey::Listed(member.clone()),
        };
        let known = self.ids.get(&key).copied();
        let id = known.unwrap_or_else(|| self.add(key, connected));
        WorkerIdentity { id, origin: origin(self.rule, id, member, self.reached.get(member).copied()) }
    }

    fn add(&mut self, key: IdentityKey, connected: &BTreeSet<WorkerId>) -> WorkerId {
        if let IdentityKey::Joined { address, .. } = &key {
            self.make_room((*address).into(), connected);
        }
        let id = WorkerId(self.next);
        self.next += 1;
        self.ids.insert(key, id);
        id
    }

    /// Forgets the oldest disconnected worker that joined from `network`, or from anywhere, if there are too many.
    fn make_room(&mut self, network: PeerNetwork, connected: &BTreeSet<WorkerId>) {
        let joined = |key: &IdentityKey| match key {
            IdentityKey::Joined { address, .. } => Some(PeerNetwork::from(*address)),
            IdentityKey::Listed(_) => None,
        };
        let of_network = self.ids.keys().filter(|key| joined(key) == Some(network)).count();
        let must_be_of_network = of_network >= MAX_NAMES_PER_NETWORK;
        if !must_be_of_network && self.ids.len() < MAX_IDENTITIES {
            return;
        }
        let oldest = self
            .ids
            .iter()
            .filter(|(key, id)| {
                let of = joined(key);
                of.is_some() && (!must_be_of_network || of == Some(network)) && !connected.contains(*id)
            })
            .min_by_key(|(_, id)| **id)
            .map(|(_, id)| *id);
        if let Some(oldest) = oldest {
            self.ids.retain(|_, id| *id != oldest);
        }
    }
}

/// Returns the origin of the worker `id` at `member`. `reached` is the address at which a worker of the list was
/// reached.
fn origin(rule: WorkerOrigins, id: WorkerId, member: &Member, reached: Option<IpAddr>) -> OriginId {
    /// Numbers from here on are those of single workers. Lower ones are ports.
    const FIRST_WORKER: u64 = 1 << 32;
    // No peer has such an address: it is in the range for multicast.
    let of_no_network = |number: u64| OriginId(!u128::from(u64::MAX) | u128::from(number));
    let of_network = |address: IpAddr| OriginId(PeerNetwork::from(address).to_bits());
    if rule == WorkerOrigins::ByName {
        return of_no_network(FIRST_WORKER + id.0);
    }
    match (member, reached) {
        (Member::Local, _) => of_no_network(0),
        (Member::Joined(peer), _) => of_network(peer.ip()),
        (Member::Named(address, _), _) if address.ip().to_canonical().is_loopback() => {
            of_no_network(address.port().into())
        }
        (Member::Named(address, _), _) => of_network(address.ip()),
        // The user has listed these processes of this machine one by one.
        (Member::Remote(address), Some(reached)) if reached.to_canonical().is_loopback() => {
            of_no_network(address.port().into())
        }
        (Member::Remote(_), Some(reached)) => of_network(reached),
        (Member::Remote(_), None) => of_no_network(FIRST_WORKER + id.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn joined(address: &str) -> Member {
        Member::Joined(address.parse::<SocketAddr>().unwrap())
    }

    fn identify(identities: &mut WorkerIdentities, name: &str, member: &Member) -> WorkerIdentity {
        identities.identify(name, member, &BTreeSet::new())
    }

    /// Identifies two workers, each with its name, its member and the address at which it is reached. Checks whether
    /// they are the same worker, and whether they have the same origin.
    #[track_caller]
    fn check(
        rule: WorkerOrigins,
        workers: [(&str, Member, Option<&str>); 2],
        is_same_worker: bool,
        is_same_origin: bool,
    ) {
        let mut identities = WorkerIdentities::new(rule);
        let [one, other] = workers.clone().map(|(name, member, reached)| {
            if let Some(reached) = reached {
                identities.note_reached(&member, reached.parse().unwrap());
            }
            identify(&mut identities, name, &member)
        });
        assert_eq!((one.id == other.id, one.origin == other.origin), (is_same_worker, is_same_origin), "{workers:?}");
    }

    #[test]
    fn a_worker_that_joins_is_its_address_and_its_name() {
        use WorkerOrigins::ByAddress;
        let of = |name, address| (name, joined(address), None);
        check(ByAddress, [of("one", "10.0.0.1:5"), of("one", "10.0.0.1:6")], true, true);
        check(ByAddress, [of("one", "10.0.0.1:5"), of("two", "10.0.0.1:6")], false, true);
        check(ByAddress, [of("one", "10.0.0.1:5"), of("one", "10.0.0.2:5")], false, false);
        check(ByAddress, [of("one", "10.0.0.1:5"), of("one", "[::ffff:10.0.0.1]:5")], true, true);
        check(ByAddress, [of("one", "[2001:db8::1]:5"), of("one", "[2001:db8::2]:5")], false, true);
    }

    #[test]
    fn a_worker_of_the_list_is_its_entry() {
        use WorkerOrigins::ByAddress;
        let of = |name, entry: &str, reached| (name, entry.parse::<Member>().unwrap(), Some(reached));
        check(ByAddress, [of("one", "a:1", "10.0.0.1"), of("two", "a:1", "10.0.0.1")], true, true);
        check(ByAddress, [of("one", "a:1", "10.0.0.1"), of("one", "b:1", "10.0.0.1")], false, true);
        check(ByAddress, [of("one", "a:1", "10.0.0.1"), ("one", joined("10.0.0.1:9"), None)], false, true);
        check(ByAddress, [of("one", "127.0.0.1:1", "127.0.0.1"), of("two", "127.0.0.1:2", "127.0.0.1")], false, false);
        check(ByAddress, [of("one", "127.0.0.1:1", "127.0.0.1"), ("two", Member::Local, None)], false, false);
    }

    #[test]
    fn the_user_can_say_that_names_are_independent() {
        let of = |name, address| (name, joined(address), None);
        let workers = [of("one", "10.0.0.1:5"), of("two", "10.0.0.1:6")];
        check(WorkerOrigins::ByName, workers, false, false);
    }

    #[test]
    fn names_of_one_address_are_forgotten_before_those_of_others() {
        let mut identities = WorkerIdentities::new(WorkerOrigins::ByAddress);
        let honest = identify(&mut identities, "honest", &joined("10.0.0.1:1"));
        let first = identify(&mut identities, "0", &joined("10.0.0.2:1"));
        let connected = [first.id].into();
        for name in 1..3 * MAX_NAMES_PER_NETWORK {
            identities.identify(&name.to_string(), &joined("10.0.0.2:1"), &connected);
        }
        assert_eq!(identities.ids.len(), 1 + MAX_NAMES_PER_NETWORK);
        assert_eq!(identify(&mut identities, "honest", &joined("10.0.0.1:2")), honest);
        assert_eq!(identify(&mut identities, "0", &joined("10.0.0.2:2")), first);
    }
}
