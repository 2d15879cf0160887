//! Decides which connections stay open. This module performs no I/O.

use crate::queue::ClientNetwork;
use std::{cmp::Reverse, collections::BTreeMap};

/// An open connection.
#[derive(Debug)]
struct TableEntry<C> {
    client: ClientNetwork,
    /// Requests whose response has not ended.
    requests: u32,
    connection: C,
}

/// The decision about a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConnectionAdmission<C> {
    /// The connection is open.
    Admitted {
        /// Number of the connection. No other connection ever has it.
        number: u64,
        /// The connection to close in return.
        replaced: Option<C>,
    },
    /// Close the new connection: all open connections have requests.
    Refused,
}

/// The open connections, at most so many in total and of each client. If there are too many, a new connection replaces
/// the oldest one that has no request: a client that sends its request at once is served, also while others only open
/// connections. A connection of one client is replaced by that of another one only if the first client has the most
/// connections.
#[derive(Debug)]
pub(super) struct ConnectionTable<C> {
    max_total: usize,
    max_per_client: usize,
    next: u64,
    /// By number, and so by age.
    open: BTreeMap<u64, TableEntry<C>>,
}

impl<C> ConnectionTable<C> {
    pub(super) fn new(max_total: usize, max_per_client: usize) -> Self {
        Self { max_total, max_per_client, next: 0, open: BTreeMap::new() }
    }

    /// Decides about a new connection of `client`.
    pub(super) fn admit(&mut self, client: ClientNetwork, connection: C) -> ConnectionAdmission<C> {
        let full_client = self.open.values().filter(|entry| entry.client == client).count() >= self.max_per_client;
        let full = self.open.len() >= self.max_total;
        let replaced = match (full_client, full) {
            (false, false) => None,
            (true, _) => match self.oldest_idle(|entry| entry.client == client) {
                Some(number) => Some(number),
                None => return ConnectionAdmission::Refused,
            },
            (false, true) => match self.oldest_idle_of_largest_client() {
                Some(number) => Some(number),
                None => return ConnectionAdmission::Refused,
            },
        };
        let replaced = replaced.and_then(|number| self.open.remove(&number)).map(|entry| entry.connection);
        let number = self.next;
        self.next += 1;
        self.open.insert(number, TableEntry { client, requests: 0, connection });
        ConnectionAdmission::Admitted { number, replaced }
    }

    fn oldest_idle(&self, is_eligible: impl Fn(&TableEntry<C>) -> bool) -> Option<u64> {
        self.open.iter().find(|(_, entry)| entry.requests == 0 && is_eligible(entry)).map(|(number, _)| *number)
    }

    fn oldest_idle_of_largest_client(&self) -> Option<u64> {
        let mut counts: BTreeMap<ClientNetwork, usize> = BTreeMap::new();
        for entry in self.open.values() {
            *counts.entry(entry.client).or_default() += 1;
        }
        let idle = self.open.iter().filter(|(_, entry)| entry.requests == 0);
        idle.max_by_key(|(number, entry)| (counts[&entry.client], Reverse(**number))).map(|(number, _)| *number)
    }

    /// Records that a request has arrived on a connection.
    pub(super) fn on_request(&mut self, number: u64) {
        if let Some(entry) = self.open.get_mut(&number) {
            entry.requests += 1;
        }
    }

    /// Records that the response to a request has ended.
    pub(super) fn on_response_end(&mut self, number: u64) {
        if let Some(entry) = self.open.get_mut(&number) {
            entry.requests = entry.requests.saturating_sub(1);
        }
    }

    /// Records that a connection is closed. It may have been replaced before.
    pub(super) fn on_closed(&mut self, number: u64) {
        self.open.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    /// What happens to a table for at most 4 connections, and 3 of a client. A client is the last number of its
    /// address; a connection is the number that the table gave it.
    enum Step {
        /// Opens a connection of a client. The table replaces the given connection, or none.
        Open(u8, Option<u64>),
        /// The table refuses a connection of a client.
        Refuse(u8),
        Request(u64),
        End(u64),
        Close(u64),
    }

    #[track_caller]
    fn check(steps: &[Step]) {
        let mut table = ConnectionTable::new(4, 3);
        let mut opened = 0;
        for (at, step) in steps.iter().enumerate() {
            let client = |last: u8| ClientNetwork::from(IpAddr::from([10, 0, 0, last]));
            match *step {
                Step::Open(last, replaced) => {
                    let admission = table.admit(client(last), opened);
                    assert_eq!(admission, ConnectionAdmission::Admitted { number: opened, replaced }, "step {at}");
                    opened += 1;
                }
                Step::Refuse(last) => {
                    assert_eq!(table.admit(client(last), u64::MAX), ConnectionAdmission::Refused, "step {at}");
                }
                Step::Request(number) => table.on_request(number),
                Step::End(number) => table.on_response_end(number),
                Step::Close(number) => table.on_closed(number),
            }
            assert!(table.open.len() <= 4, "step {at}");
        }
    }

    #[test]
    fn new_connection_replaces_the_oldest_idle_one_of_its_client() {
        use Step::{Close, End, Open, Refuse, Request};
        check(&[
            Open(1, None),
            Open(1, None),
            Open(1, None),
            Request(0),
            Open(1, Some(1)),
            Request(2),
            Request(3),
            Refuse(1),
            End(2),
            Open(1, Some(2)),
            Close(0),
            Open(1, None),
        ]);
    }

    #[test]
    fn full_table_closes_connections_of_the_client_with_the_most() {
        use Step::{Open, Refuse, Request};
        check(&[
            Open(2, None),
            Open(1, None),
            Open(1, None),
            Open(1, None),
            Open(3, Some(1)),
            // Each of clients 2 and 3 has one connection, and client 1 has two.
            Open(4, Some(2)),
            Request(0),
            Request(3),
            Request(4),
            Request(5),
            Refuse(5),
        ]);
    }

    #[test]
    fn events_of_a_replaced_connection_change_nothing() {
        use Step::{Close, End, Open, Request};
        check(&[
            Open(1, None),
            Open(1, None),
            Open(1, None),
            Open(1, Some(0)),
            Request(0),
            End(0),
            Close(0),
            Open(1, Some(1)),
        ]);
    }
}
