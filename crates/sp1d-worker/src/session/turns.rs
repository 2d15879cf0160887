//! The shared [`TurnQueue`] of a worker: the connections change it, and its session follows it.

use super::turn_queue::{TurnId, TurnQueue};
use sp1d_protocol::{BusyWorker, HolderId, QueuePlace};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{sync::watch, time::Instant};

/// The turns of the orchestrators at a worker. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(watch::Sender<TurnQueue>);

/// The turn of an orchestrator, or its place in the queue. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct TurnPass {
    turns: Turns,
    id: TurnId,
}

/// A view of the turns for the orchestrator that has the worker, or waits for it.
#[derive(Debug)]
pub(super) struct TurnView {
    turns: Turns,
    changes: watch::Receiver<TurnQueue>,
    id: TurnId,
}

impl Turns {
    /// Gives the worker to an orchestrator at `peer`, or a place in the queue if it `may_wait`.
    ///
    /// # Errors
    /// Returns who has the worker if the orchestrator does not wait, or if the queue is full.
    pub(super) fn enter(&self, peer: SocketAddr, may_wait: bool) -> Result<TurnPass, BusyWorker> {
        let (mut entered, now) = (Err(BusyWorker::default()), Instant::now());
        self.0.send_if_modified(|queue| {
            entered = match queue.busy(now) {
                Some(busy) if !may_wait => Err(busy),
                busy => queue.arrive(peer, now).ok_or_else(|| busy.unwrap_or_default()),
            };
            entered.is_ok()
        });
        entered.map(|id| TurnPass { turns: self.clone(), id })
    }

    /// Returns true if no orchestrator has the worker.
    pub(super) fn are_free(&self) -> bool {
        self.0.borrow().is_free()
    }

    /// Resolves when no orchestrator has the worker.
    pub(super) async fn freed(&self) {
        let mut changes = self.0.subscribe();
        // This fails only if all senders are dropped, and `self` holds one.
        let _ = changes.wait_for(TurnQueue::is_free).await;
    }
}

impl TurnPass {
    pub(super) fn view(&self) -> TurnView {
        TurnView { turns: self.turns.clone(), changes: self.turns.0.subscribe(), id: self.id }
    }
}

impl Drop for TurnPass {
    fn drop(&mut self) {
        self.turns.0.send_modify(|queue| queue.leave(self.id, Instant::now()));
    }
}

impl TurnView {
    /// Returns the view of the only orchestrator of a worker that joins it, or that is in its process.
    pub(super) fn alone() -> Self {
        let mut queue = TurnQueue::default();
        let only = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let id = queue.arrive(only, Instant::now()).expect("an empty queue refuses no orchestrator");
        let turns = Turns(watch::Sender::new(queue));
        let changes = turns.0.subscribe();
        Self { turns, changes, id }
    }

    /// Returns the place in the queue; `None` if the orchestrator does not wait.
    pub(super) fn place(&mut self) -> Option<QueuePlace> {
        self.changes.borrow_and_update().place(self.id, Instant::now())
    }

    /// Returns how many other orchestrators wait.
    pub(super) fn waiting(&mut self) -> usize {
        self.changes.borrow_and_update().waiting()
    }

    /// Resolves when the queue has changed since the last call of another function.
    pub(super) async fn changed(&mut self) {
        // This fails only if all senders are dropped, and `self` holds one.
        let _ = self.changes.changed().await;
    }

    /// Sets the name and the identity of the orchestrator.
    pub(super) fn introduce(&self, name: String, holder_id: HolderId) {
        self.turns.0.send_modify(|queue| queue.introduce(self.id, name, holder_id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[tokio::test]
    async fn the_next_turn_starts_when_the_pass_is_dropped() {
        let turns = Turns::default();
        let (first, second) = (turns.enter(peer(1), true).unwrap(), turns.enter(peer(2), true).unwrap());
        let (mut first_view, mut second_view) = (first.view(), second.view());
        assert_eq!((first_view.place(), first_view.waiting()), (None, 1));
        assert_eq!(second_view.place().unwrap().place, 1);
        first_view.introduce("one".to_owned(), HolderId::of(b"one"));
        second_view.changed().await;
        assert_eq!(second_view.place().unwrap().holder, "one at 127.0.0.1:1");
        drop(first);
        second_view.changed().await;
        assert_eq!((second_view.place(), second_view.waiting()), (None, 0));
    }

    #[test]
    fn an_idle_orchestrator_does_not_wait() {
        let turns = Turns::default();
        let first = turns.enter(peer(1), true).unwrap();
        assert_eq!(turns.enter(peer(2), false).unwrap_err().text, "serving 127.0.0.1:1 for 0 s");
        assert_eq!(first.view().waiting(), 0);
        drop(first);
        assert!(turns.enter(peer(2), false).is_ok());
    }
}
