//! Which orchestrator a worker serves, and which ones wait for their turn.

use sp1d_protocol::{BusyWorker, HolderId, PeerNetwork, QueuePlace};
use std::{collections::VecDeque, net::SocketAddr};
use tokio::time::Instant;

sp1d_model::limits! {
    /// Maximum number of orchestrators that wait. Each has an open connection.
    const MAX_WAITING: usize = 64; Count by Orchestrator;
    /// Maximum number of waiting orchestrators from one address, or from one IPv6 network of 64 bits. One machine
    /// cannot take all places.
    const MAX_WAITING_PER_ADDRESS: usize = MAX_WAITING / 2; Count by Orchestrator;
}

/// Identifies an orchestrator from its arrival to its departure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TurnId(u64);

/// The orchestrator that the worker serves.
#[derive(Debug)]
struct TurnHolder {
    id: TurnId,
    peer: SocketAddr,
    /// Empty until the orchestrator has introduced itself.
    name: String,
    /// `None` until then.
    holder_id: Option<HolderId>,
    since: Instant,
}

/// The turns of the orchestrators at a worker: one has the worker, and the others wait in the order in which they
/// arrived. It knows no connections. The caller passes the time.
#[derive(Debug, Default)]
pub(super) struct TurnQueue {
    holder: Option<TurnHolder>,
    waiting: VecDeque<(TurnId, SocketAddr)>,
    next: u64,
}

impl TurnQueue {
    /// An orchestrator at `peer` wants the worker. It gets the worker if it is free, and otherwise the last place of
    /// the queue. Returns `None` if too many orchestrators wait, or too many from its address.
    pub(super) fn arrive(&mut self, peer: SocketAddr, now: Instant) -> Option<TurnId> {
        let id = TurnId(self.next);
        if self.holder.is_none() {
            self.holder = Some(TurnHolder::new(id, peer, now));
        } else {
            let own = PeerNetwork::from(peer.ip());
            let same = self.waiting.iter().filter(|(_, other)| PeerNetwork::from(other.ip()) == own).count();
            if self.waiting.len() >= MAX_WAITING || same >= MAX_WAITING_PER_ADDRESS {
                return None;
            }
            self.waiting.push_back((id, peer));
        }
        self.next += 1;
        Some(id)
    }

    /// `id` leaves. If it had the worker, the turn of the first waiting orchestrator starts.
    pub(super) fn leave(&mut self, id: TurnId, now: Instant) {
        if self.holder.as_ref().is_some_and(|holder| holder.id == id) {
            let next = self.waiting.pop_front();
            self.holder = next.map(|(id, peer)| TurnHolder::new(id, peer, now));
        } else {
            self.waiting.retain(|(waiting, _)| *waiting != id);
        }
    }

    /// Sets the name and the identity of `id` if it has the worker.
    pub(super) fn introduce(&mut self, id: TurnId, name: String, holder_id: HolderId) {
        if let Some(holder) = self.holder.as_mut().filter(|holder| holder.id == id) {
            (holder.name, holder.holder_id) = (name, Some(holder_id));
        }
    }

    /// Returns the place of `id` among the waiting orchestrators; `None` if it does not wait.
    pub(super) fn place(&self, id: TurnId, now: Instant) -> Option<QueuePlace> {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == id)?;
        let holder = self.holder.as_ref()?;
        Some(QueuePlace {
            place: u32::try_from(at + 1).unwrap_or(u32::MAX),
            holder: holder.describe(),
            holder_id: holder.holder_id,
            held: now.saturating_duration_since(holder.since),
        })
    }

    /// Returns true if no orchestrator has the worker, so that none waits either.
    pub(super) fn is_free(&self) -> bool {
        self.holder.is_none()
    }

    /// Returns how many orchestrators wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Describes who has the worker, for an orchestrator that does not wait. `None` if the worker is free.
    pub(super) fn busy(&self, now: Instant) -> Option<BusyWorker> {
        let holder = self.holder.as_ref()?;
        let seconds = now.saturating_duration_since(holder.since).as_secs();
        let mut text = format!("serving {} for {seconds} s", holder.describe());
        if !self.waiting.is_empty() {
            text.push_str(&format!(", {} wait", self.waiting.len()));
        }
        Some(BusyWorker { text, holder: holder.holder_id })
    }
}

impl TurnHolder {
    const fn new(id: TurnId, peer: SocketAddr, since: Instant) -> Self {
        Self { id, peer, name: String::new(), holder_id: None, since }
    }

    fn describe(&self) -> String {
        if self.name.is_empty() { self.peer.to_string() } else { format!("{} at {}", self.name, self.peer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn peer(last: u8, port: u16) -> SocketAddr {
        ([10, 0, 0, last], port).into()
    }

    #[track_caller]
    fn check_places(queue: &TurnQueue, now: Instant, ids: &[TurnId], expected: &[Option<u32>]) {
        let places: Vec<_> = ids.iter().map(|id| queue.place(*id, now).map(|place| place.place)).collect();
        assert_eq!(places, expected);
    }

    #[test]
    fn turns_follow_the_order_of_arrival() {
        let (mut queue, now) = (TurnQueue::default(), Instant::now());
        let ids: Vec<_> = (1..=4).map(|last| queue.arrive(peer(last, 1), now).unwrap()).collect();
        check_places(&queue, now, &ids, &[None, Some(1), Some(2), Some(3)]);
        // One that waits leaves, and the others move up.
        queue.leave(ids[1], now);
        check_places(&queue, now, &ids, &[None, None, Some(1), Some(2)]);
        queue.leave(ids[0], now);
        check_places(&queue, now, &ids, &[None, None, None, Some(1)]);
        assert_eq!(queue.waiting(), 1);
        // Leaving twice changes nothing.
        queue.leave(ids[0], now);
        check_places(&queue, now, &ids, &[None, None, None, Some(1)]);
        queue.leave(ids[2], now);
        queue.leave(ids[3], now);
        assert_eq!((queue.busy(now), queue.waiting()), (None, 0));
        let last = queue.arrive(peer(5, 1), now).unwrap();
        check_places(&queue, now, &[last], &[None]);
    }

    #[test]
    fn the_place_says_who_has_the_worker_and_for_how_long() {
        let (mut queue, now) = (TurnQueue::default(), Instant::now());
        let first = queue.arrive(peer(1, 7), now).unwrap();
        let second = queue.arrive(peer(2, 8), now).unwrap();
        let later = now + Duration::from_secs(12);
        assert_eq!(
            queue.place(second, later).unwrap().to_string(),
            "serving 10.0.0.1:7 for 12 s, place 1 in its queue"
        );
        assert_eq!(queue.place(second, later).unwrap().holder_id, None);
        let [own, other] = [b"own", b"two"].map(|id| HolderId::of(id));
        queue.introduce(first, "sp1d (pid 3)".to_owned(), own);
        // Only the holder has a name.
        queue.introduce(second, "another".to_owned(), other);
        let busy = queue.busy(later).unwrap();
        assert_eq!(busy.text, "serving sp1d (pid 3) at 10.0.0.1:7 for 12 s, 1 wait");
        assert_eq!((busy.holder, queue.place(second, later).unwrap().holder_id), (Some(own), Some(own)));
        queue.leave(first, later);
        let busy = queue.busy(later).unwrap();
        assert_eq!((busy.text.as_str(), busy.holder), ("serving 10.0.0.2:8 for 0 s", None));
    }

    #[test]
    fn the_queue_is_bounded_in_total_and_per_address() {
        let (mut queue, now) = (TurnQueue::default(), Instant::now());
        queue.arrive(peer(1, 1), now).unwrap();
        for port in 0..MAX_WAITING_PER_ADDRESS {
            queue.arrive(peer(1, u16::try_from(port).unwrap()), now).unwrap();
        }
        assert_eq!(queue.arrive(peer(1, 9), now), None);
        for last in 0..MAX_WAITING - MAX_WAITING_PER_ADDRESS {
            queue.arrive(peer(u8::try_from(100 + last).unwrap(), 1), now).unwrap();
        }
        assert_eq!(queue.arrive(peer(2, 9), now), None);
        assert_eq!(queue.waiting(), MAX_WAITING);
    }
}
