//! Decides which workers a name of the worker list stands for.
//!
//! A name with one address is one worker. Its address is looked up again for each connection. A name with several
//! addresses, for example that of a headless service, is a worker for each address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of workers that one name of the worker list stands for. The other addresses of the name are
    /// ignored.
    const MAX_NAMED_WORKERS: usize = 1024; Count by EitherSide;
}

/// Number of replies in a row without an address after which its worker is no longer connected. Some name servers
/// return a part of the addresses each time, and omit a machine that is busy for a moment.
const MAX_ABSENT_REPLIES: u32 = 4;

/// What to do about the workers of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameCommand {
    /// Connect to the name, which is one worker.
    DialName,
    /// Stop connecting to the name: it is several workers now.
    RetireName,
    /// Connect to the worker at this address.
    Dial(SocketAddr),
    /// Stop connecting to the worker at this address. A session ends when the worker has finished its attempts.
    Retire(SocketAddr),
}

/// What a name stands for.
#[derive(Debug, Default)]
pub(super) enum NamedWorkers {
    /// The name was not looked up yet.
    #[default]
    Unknown,
    /// One worker.
    One,
    /// Several workers, or one that is left of several: each address, with the number of replies in a row that did not
    /// contain it.
    Several(BTreeMap<SocketAddr, u32>),
}

impl NamedWorkers {
    /// Handles a reply of the name server; `None` if the lookup failed. A failure does not change which workers are
    /// connected: a name server that does not respond must not end sessions.
    pub(super) fn on_reply(&mut self, reply: Option<&[SocketAddr]>) -> Vec<NameCommand> {
        let found = reply.map(of_one_family).unwrap_or_default();
        match self {
            Self::Unknown if found.len() <= 1 => {
                *self = Self::One;
                vec![NameCommand::DialName]
            }
            Self::Unknown | Self::One if found.len() > 1 => {
                let dials = found.iter().copied().map(NameCommand::Dial);
                let commands = dials.chain([NameCommand::RetireName]).collect();
                *self = Self::Several(found.into_iter().map(|address| (address, 0)).collect());
                commands
            }
            Self::Unknown | Self::One => Vec::new(),
            Self::Several(_) if found.is_empty() => Vec::new(),
            Self::Several(known) => on_addresses(known, &found),
        }
    }
}

/// Handles the addresses `found` of a name with several workers, of which `known` are connected.
fn on_addresses(known: &mut BTreeMap<SocketAddr, u32>, found: &BTreeSet<SocketAddr>) -> Vec<NameCommand> {
    let mut commands = Vec::new();
    known.retain(|address, absent| {
        *absent = if found.contains(address) { 0 } else { *absent + 1 };
        let stays = *absent < MAX_ABSENT_REPLIES;
        if !stays {
            commands.push(NameCommand::Retire(*address));
        }
        stays
    });
    for address in found {
        if known.len() < MAX_NAMED_WORKERS && !known.contains_key(address) {
            known.insert(*address, 0);
            commands.push(NameCommand::Dial(*address));
        }
    }
    commands
}

/// Returns the addresses of the family that has more of them, or of the first address if both have equally many. A
/// machine with an IPv4 and an IPv6 address is one worker.
fn of_one_family(found: &[SocketAddr]) -> BTreeSet<SocketAddr> {
    let canonical = |address: &SocketAddr| match address.ip().to_canonical() {
        // Keeps the scope of the address, without which a link-local address cannot be reached.
        ip if ip == address.ip() => *address,
        ip => SocketAddr::new(ip, address.port()),
    };
    let all: Vec<SocketAddr> = found.iter().map(canonical).collect();
    let first_is_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (v6, v4): (BTreeSet<SocketAddr>, BTreeSet<SocketAddr>) = all.into_iter().partition(SocketAddr::is_ipv6);
    let takes_v6 = v6.len() > v4.len() || v6.len() == v4.len() && first_is_v6;
    let taken = if takes_v6 { v6 } else { v4 };
    taken.into_iter().take(MAX_NAMED_WORKERS).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        NameCommand::{Dial, DialName, Retire, RetireName},
        *,
    };
    use std::net::{Ipv6Addr, SocketAddrV6};

    fn at(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 8081).into()
    }

    fn v6(last: u16) -> SocketAddr {
        ([0xfd00, 0, 0, 0, 0, 0, 0, last], 8081).into()
    }

    /// Checks a sequence of replies, each with the commands that follow.
    #[track_caller]
    fn check(steps: &[(Option<&[SocketAddr]>, &[NameCommand])]) {
        let mut workers = NamedWorkers::default();
        for (number, (reply, expected)) in steps.iter().enumerate() {
            assert_eq!(workers.on_reply(*reply), *expected, "step {number}");
        }
    }

    #[test]
    fn a_name_with_one_address_is_one_worker() {
        check(&[(Some(&[at(1)]), &[DialName]), (Some(&[at(2)]), &[]), (None, &[])]);
        check(&[(None, &[DialName]), (None, &[])]);
    }

    #[test]
    fn a_machine_with_addresses_of_both_families_is_one_worker() {
        check(&[(Some(&[v6(1), at(1)]), &[DialName])]);
    }

    #[test]
    fn a_link_local_address_keeps_its_scope() {
        let local = |last: u16| {
            let ip = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
            SocketAddr::V6(SocketAddrV6::new(ip, 8081, 0, 7))
        };
        check(&[(Some(&[local(1), local(2)]), &[Dial(local(1)), Dial(local(2)), RetireName])]);
    }

    #[test]
    fn each_address_of_a_name_is_a_worker_and_changes_are_followed() {
        check(&[
            (Some(&[at(2), at(1), at(1)]), &[Dial(at(1)), Dial(at(2)), RetireName]),
            (Some(&[at(1), at(2), at(3)]), &[Dial(at(3))]),
            (Some(&[at(3)]), &[]),
            (Some(&[at(3)]), &[]),
            // A worker that is back in time keeps its connection.
            (Some(&[at(2), at(3)]), &[]),
            (Some(&[at(3)]), &[Retire(at(1))]),
        ]);
    }

    #[test]
    fn a_name_server_that_fails_ends_no_connection() {
        let mut workers = NamedWorkers::default();
        assert_eq!(workers.on_reply(None), [DialName]);
        assert_eq!(workers.on_reply(Some(&[at(1), at(2)])), [Dial(at(1)), Dial(at(2)), RetireName]);
        for _ in 0..2 * MAX_ABSENT_REPLIES {
            assert!(workers.on_reply(None).is_empty());
            assert!(workers.on_reply(Some(&[])).is_empty());
        }
    }

    #[test]
    fn a_service_with_both_families_uses_one_of_them() {
        check(&[(Some(&[v6(1), v6(2), at(1), at(2)]), &[Dial(v6(1)), Dial(v6(2)), RetireName])]);
        check(&[(Some(&[v6(1), at(1), at(2)]), &[Dial(at(1)), Dial(at(2)), RetireName])]);
    }

    #[test]
    fn the_number_of_workers_of_a_name_is_bounded() {
        let many: Vec<SocketAddr> = (0..4000_u16).map(|port| ([10, 0, 0, 1], port + 1).into()).collect();
        let mut workers = NamedWorkers::default();
        assert_eq!(workers.on_reply(Some(many.as_slice())).len(), MAX_NAMED_WORKERS + 1);
        assert!(workers.on_reply(Some(many.as_slice())).is_empty());
    }
}
