//! Applies a filter to peers. Only names need time: they are looked up while the peer waits, within a limit.

use super::filter::Filter;
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    net::lookup_host,
    sync::watch,
    time::{Instant, timeout},
};

sp1d_model::limits! {
    /// Maximum wait for the addresses of the names of a filter. The peer waits for at most
    /// `PREAMBLE_TIMEOUT`, and the reply needs some of this time.
    const MAX_LOOKUP_WAIT: Duration = Duration::from_millis(500); Time by EitherSide;
    /// How long the addresses of a name are used before they are looked up again. Strangers cannot cause more lookups.
    const MAX_ADDRESS_AGE: Duration = Duration::from_secs(5); Time by EitherSide;
}

/// A filter that remembers the addresses of its names. Clones share the memory.
#[derive(Debug, Clone)]
pub(super) struct PeerFilter {
    filter: Arc<Filter>,
    names: Arc<[FilterName]>,
}

/// A name of the filter.
#[derive(Debug)]
struct FilterName {
    name: String,
    found: watch::Sender<FoundAddresses>,
}

/// The addresses of a name.
#[derive(Debug, Default)]
struct FoundAddresses {
    addresses: Vec<IpAddr>,
    /// When the last lookup ended.
    at: Option<Instant>,
    is_looking: bool,
}

impl FoundAddresses {
    fn are_fresh(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() < MAX_ADDRESS_AGE)
    }
}

impl From<Filter> for PeerFilter {
    fn from(filter: Filter) -> Self {
        let name = |name: &str| FilterName { name: name.to_owned(), found: watch::Sender::default() };
        let names = filter.names().map(name).collect();
        Self { filter: Arc::new(filter), names }
    }
}

impl PeerFilter {
    /// Returns the filter.
    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Returns true if an address or a range of the filter contains `peer`. Names are not looked at.
    pub(super) fn allows_at_once(&self, peer: IpAddr) -> bool {
        self.filter.allows_address(peer)
    }

    /// Returns true if an entry of the filter matches `peer`. Names are looked up, for at most half a second in total.
    /// A machine whose address has changed matches with its new address some seconds later.
    ///
    /// If a name cannot be looked up, its last addresses count.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: a lookup that has started continues for later callers.
    pub(super) async fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        if self.allows_at_once(peer) {
            return true;
        }
        for at in 0..self.names.len() {
            self.look_up_if_due(at);
        }
        let all = async {
            for name in self.names.iter() {
                // This fails only if the sender is dropped, and `self` holds it.
                let _ = name.found.subscribe().wait_for(|found| !found.is_looking).await;
            }
        };
        // After the time limit, the addresses that are known count.
        let _ = timeout(MAX_LOOKUP_WAIT, all).await;
        self.names.iter().any(|name| name.found.borrow().addresses.contains(&peer))
    }

    /// Starts a lookup unless one is running, or the addresses are fresh. The lookup ends when the resolver returns, so
    /// a name has at most one.
    fn look_up_if_due(&self, at: usize) {
        let is_due = self.names[at].found.send_if_modified(|found| {
            let is_due = !found.is_looking && !found.are_fresh();
            found.is_looking |= is_due;
            is_due
        });
        if is_due {
            let names = self.names.clone();
            tokio::spawn(async move { names[at].look_up().await });
        }
    }
}

impl FilterName {
    async fn look_up(&self) {
        let looked_up = lookup_host((self.name.as_str(), 0)).await;
        let addresses: Option<Vec<IpAddr>> = match looked_up {
            Ok(found) => Some(found.map(|address| address.ip().to_canonical()).collect()),
            Err(error) => {
                tracing::warn!(name = %self.name, %error, "cannot resolve a host name of the filter");
                None
            }
        };
        self.found.send_modify(|found| {
            if let Some(addresses) = addresses {
                found.addresses = addresses;
            }
            (found.at, found.is_looking) = (Some(Instant::now()), false);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> PeerFilter {
        PeerFilter::from(text.parse::<Filter>().unwrap())
    }

    #[track_caller]
    fn check_now(text: &str, peer: &str, expected: bool) {
        assert_eq!(filter(text).allows_at_once(peer.parse().unwrap()), expected, "{text} and {peer}");
    }

    #[test]
    fn addresses_and_ranges_need_no_lookup() {
        check_now("10.0.0.0/8", "10.1.2.3", true);
        check_now("no-such-host.invalid,10.0.0.1", "10.0.0.1", true);
        check_now("localhost", "127.0.0.1", false);
    }

    async fn check(text: &str, peer: &str, expected: bool) {
        let (filter, peer) = (filter(text), peer.parse().unwrap());
        let mut is_allowed = filter.allows(peer).await;
        if expected && !is_allowed {
            // A lookup on a busy machine may take longer than a peer waits.
            for name in filter.names.iter() {
                let _ = name.found.subscribe().wait_for(|found| !found.is_looking).await;
            }
            is_allowed = filter.allows(peer).await;
        }
        assert_eq!(is_allowed, expected, "{text} and {peer}");
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        check("localhost", "127.0.0.1", true).await;
        check("localhost:9000", "127.0.0.1", true).await;
        check("localhost", "203.0.113.9", false).await;
        check("no-such-host.invalid", "127.0.0.1", false).await;
        check("no-such-host.invalid,localhost", "127.0.0.1", true).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_does_not_respond_delays_a_peer_for_half_a_second() {
        let filter = filter("slow.example");
        // A lookup that never ends.
        filter.names[0].found.send_modify(|found| found.is_looking = true);
        let started = Instant::now();
        assert!(!filter.allows([10, 0, 0, 1].into()).await);
        assert_eq!(started.elapsed().as_millis(), MAX_LOOKUP_WAIT.as_millis());
        // The last known addresses count meanwhile.
        filter.names[0].found.send_modify(|found| found.addresses = vec![[10, 0, 0, 1].into()]);
        assert!(filter.allows([10, 0, 0, 1].into()).await);
    }

    #[tokio::test]
    async fn strangers_cause_one_lookup() {
        let filter = filter("localhost");
        assert!(filter.allows([127, 0, 0, 1].into()).await);
        let looked_up = filter.names[0].found.borrow().at;
        for last in 0..100 {
            assert!(!filter.allows([10, 0, 0, last].into()).await);
        }
        assert_eq!(filter.names[0].found.borrow().at, looked_up);
    }
}
