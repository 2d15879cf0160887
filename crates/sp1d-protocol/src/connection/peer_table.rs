//! Entries of peers with bounds. This module performs no I/O.

use super::peer_network::PeerNetwork;
use std::{cmp::Reverse, collections::BTreeMap};

/// How many entries peers may have at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    /// Maximum number of entries of all peers; 0 counts as 1.
    pub total: usize,
    /// Maximum number of entries of one IP address, or of one IPv6 network of 64 bits; 0 counts as 1.
    pub per_network: usize,
}

/// Entries of peers, never more than the limits allow. An entry that is removed leaves nothing behind.
#[derive(Debug)]
pub(super) struct PeerTable<T> {
    limits: PeerLimits,
    next: u64,
    /// By number, and so by age.
    entries: BTreeMap<u64, (PeerNetwork, T)>,
}

impl<T> PeerTable<T> {
    pub(super) fn new(limits: PeerLimits) -> Self {
        let PeerLimits { total, per_network } = limits;
        let limits = PeerLimits { total: total.max(1), per_network: per_network.max(1) };
        Self { limits, next: 0, entries: BTreeMap::new() }
    }

    fn is_full_for(&self, network: PeerNetwork) -> bool {
        self.entries.values().filter(|(other, _)| *other == network).count() >= self.limits.per_network
    }

    /// Adds an entry and returns its number. Returns `None` if there is no place for it.
    pub(super) fn insert(&mut self, network: PeerNetwork, entry: T) -> Option<u64> {
        if self.entries.len() >= self.limits.total || self.is_full_for(network) {
            return None;
        }
        Some(self.add(network, entry))
    }

    /// Adds an entry and returns its number. If there is no place for it, it replaces the oldest entry of its network,
    /// or of the network with the most entries. Also returns the replaced entry.
    pub(super) fn insert_in_place_of_oldest(&mut self, network: PeerNetwork, entry: T) -> (u64, Option<T>) {
        let replaced = if self.is_full_for(network) {
            self.entries.iter().find(|(_, (other, _))| *other == network).map(|(number, _)| *number)
        } else if self.entries.len() >= self.limits.total {
            self.oldest_of_largest_network()
        } else {
            None
        };
        let replaced = replaced.and_then(|number| self.entries.remove(&number)).map(|(_, entry)| entry);
        (self.add(network, entry), replaced)
    }

    fn oldest_of_largest_network(&self) -> Option<u64> {
        let mut counts: BTreeMap<PeerNetwork, usize> = BTreeMap::new();
        for (network, _) in self.entries.values() {
            *counts.entry(*network).or_default() += 1;
        }
        let of_all = self.entries.iter();
        of_all.max_by_key(|(number, (network, _))| (counts[network], Reverse(**number))).map(|(number, _)| *number)
    }

    fn add(&mut self, network: PeerNetwork, entry: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.entries.insert(number, (network, entry));
        number
    }

    /// Removes an entry. It may have been replaced before.
    pub(super) fn remove(&mut self, number: u64) {
        self.entries.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    const LIMITS: PeerLimits = PeerLimits { total: 4, per_network: 2 };

    fn network(last: u8) -> PeerNetwork {
        IpAddr::from([10, 0, 0, last]).into()
    }

    /// Inserts entries of the networks with these numbers. Each pair has the network, and the number of the entry that
    /// it replaces.
    #[track_caller]
    fn check_replaced(steps: &[(u8, Option<u64>)]) {
        let mut table = PeerTable::new(LIMITS);
        for (at, (last, replaced)) in (0..).zip(steps) {
            assert_eq!(table.insert_in_place_of_oldest(network(*last), at), (at, *replaced), "step {at}");
            assert!(table.entries.len() <= LIMITS.total);
        }
    }

    #[test]
    fn the_oldest_entry_of_the_network_gives_way() {
        check_replaced(&[(1, None), (1, None), (1, Some(0)), (2, None), (1, Some(1))]);
    }

    #[test]
    fn a_full_table_replaces_an_entry_of_the_network_with_the_most() {
        check_replaced(&[(2, None), (1, None), (1, None), (3, None), (4, Some(1)), (5, Some(0))]);
    }

    #[test]
    fn entries_beyond_the_limits_are_refused_until_others_are_removed() {
        let mut table = PeerTable::new(LIMITS);
        let insert = |table: &mut PeerTable<()>, last| table.insert(network(last), ());
        assert_eq!((insert(&mut table, 1), insert(&mut table, 1), insert(&mut table, 1)), (Some(0), Some(1), None));
        assert_eq!((insert(&mut table, 2), insert(&mut table, 3), insert(&mut table, 4)), (Some(2), Some(3), None));
        table.remove(0);
        table.remove(0);
        assert_eq!((insert(&mut table, 1), insert(&mut table, 4)), (Some(4), None));
        (0..10).for_each(|number| table.remove(number));
        assert!(table.entries.is_empty());
    }
}
