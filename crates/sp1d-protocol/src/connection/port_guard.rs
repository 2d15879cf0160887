//! Which connections may shake hands at a port.

use super::{
    filter::Filter,
    peer_filter::PeerFilter,
    peer_places::{Handshake, Handshakes},
    peer_table::PeerLimits,
};
use std::net::IpAddr;

sp1d_model::limits! {
    /// Maximum number of connections from allowed addresses that are in their handshake at the same time. A handshake
    /// takes milliseconds. A silent peer is dropped after a second, or with TLS after up to 4 s.
    const MAX_HANDSHAKES: usize = 64; Count by EitherSide;
    /// Maximum number of handshakes of one allowed address, or of one IPv6 network of 64 bits. One machine cannot
    /// displace the handshakes of all others.
    const MAX_HANDSHAKES_PER_NETWORK: usize = 32; Count by EitherSide;
    /// Maximum number of connections from other addresses that are about to be refused. They have places of their own,
    /// so that strangers never displace an allowed peer. Further strangers, and all strangers with TLS, are closed
    /// without a reply.
    const MAX_STRANGERS: usize = 16; Count by EitherSide;
    /// Maximum number of connections of one stranger that are about to be refused.
    const MAX_STRANGERS_PER_NETWORK: usize = 4; Count by EitherSide;
}

/// Bounds the handshakes at a port, for peers that the filter allows and for strangers. A handshake that is older than
/// others gives way when there are too many.
#[derive(Debug)]
pub struct PortGuard {
    filter: PeerFilter,
    allowed: Handshakes,
    strangers: Handshakes,
}

/// The place of a connection that is in its handshake. Dropping it frees the place.
#[derive(Debug)]
pub struct PortPlace {
    handshake: Handshake,
    is_allowed: bool,
}

impl PortGuard {
    /// Creates a guard for the peers that `filter` allows.
    #[must_use]
    pub fn new(filter: Filter) -> Self {
        let allowed = PeerLimits { total: MAX_HANDSHAKES, per_network: MAX_HANDSHAKES_PER_NETWORK };
        let strangers = PeerLimits { total: MAX_STRANGERS, per_network: MAX_STRANGERS_PER_NETWORK };
        Self { filter: filter.into(), allowed: Handshakes::new(allowed), strangers: Handshakes::new(strangers) }
    }

    /// Returns the filter.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        self.filter.filter()
    }

    /// Takes a place for the handshake of `peer`. A peer that only a name of the filter can allow counts as a stranger
    /// until the name is resolved. Returns `None` if the peer had to give way meanwhile.
    pub async fn enter(&self, peer: IpAddr) -> Option<PortPlace> {
        if self.filter.allows_at_once(peer) {
            return Some(self.let_in(peer));
        }
        let handshake = self.strangers.start(peer);
        let is_allowed = tokio::select! {
            // A decision that is known at once counts, however many strangers follow.
            biased;
            is_allowed = self.filter.allows(peer) => is_allowed,
            () = handshake.displaced() => return None,
        };
        Some(if is_allowed { self.let_in(peer) } else { PortPlace { handshake, is_allowed } })
    }

    fn let_in(&self, peer: IpAddr) -> PortPlace {
        PortPlace { handshake: self.allowed.start(peer), is_allowed: true }
    }
}

impl PortPlace {
    /// Returns true if the filter allows the peer.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.is_allowed
    }

    /// Resolves when the connection must be closed in favor of another one.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn displaced(&self) {
        self.handshake.displaced().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn stranger(last: usize) -> IpAddr {
        [192, 0, 2, u8::try_from(last).unwrap()].into()
    }

    #[tokio::test]
    async fn strangers_do_not_displace_an_allowed_peer() {
        let guard = PortGuard::new("10.0.0.0/8".parse().unwrap());
        let honest = guard.enter([10, 0, 0, 1].into()).await.unwrap();
        let mut strangers = Vec::new();
        for last in 0..MAX_STRANGERS + 1 {
            strangers.push(guard.enter(stranger(last)).await.unwrap());
        }
        assert!(honest.is_allowed() && honest.displaced().now_or_never().is_none());
        assert!(!strangers[0].is_allowed() && strangers[0].displaced().now_or_never().is_some());
        assert!(strangers[1].displaced().now_or_never().is_none());
    }

    #[tokio::test]
    async fn one_address_does_not_displace_another_one() {
        let guard = PortGuard::new("any".parse().unwrap());
        let honest = guard.enter([10, 0, 0, 1].into()).await.unwrap();
        let mut many = Vec::new();
        for _ in 0..2 * MAX_HANDSHAKES {
            many.push(guard.enter([10, 0, 0, 2].into()).await.unwrap());
        }
        assert!(honest.displaced().now_or_never().is_none());
        let open = many.iter().filter(|place| place.displaced().now_or_never().is_none()).count();
        assert_eq!(open, MAX_HANDSHAKES_PER_NETWORK);
    }

    #[tokio::test]
    async fn a_name_moves_a_stranger_to_the_allowed_peers() {
        let guard = PortGuard::new("localhost".parse().unwrap());
        let place = guard.enter([127, 0, 0, 1].into()).await.unwrap();
        assert!(place.is_allowed());
        for last in 0..2 * MAX_STRANGERS {
            drop(guard.enter(stranger(last)).await);
        }
        assert!(place.displaced().now_or_never().is_none());
    }
}
