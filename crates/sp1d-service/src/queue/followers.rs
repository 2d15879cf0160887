//! Wakes the readers of event streams, each only for its own proof.

use super::lock::lock;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// The followers of one proof.
#[derive(Debug)]
struct ProofFollowers {
    /// Counts the changes of the proof.
    changes: watch::Sender<u64>,
    followers: usize,
}

/// The followers of all proofs. Clones refer to the same followers.
#[derive(Debug, Clone, Default)]
pub(super) struct Followers {
    /// Only proofs with at least one follower.
    proofs: Arc<Mutex<BTreeMap<String, ProofFollowers>>>,
    changes: Arc<AtomicU64>,
}

impl Followers {
    /// Returns a follower of `proof`, which need not exist.
    pub(super) fn follow(&self, proof: &str) -> Follower {
        let mut proofs = lock(&self.proofs);
        let of_proof = proofs
            .entry(proof.to_owned())
            .or_insert_with(|| ProofFollowers { changes: watch::Sender::new(0), followers: 0 });
        of_proof.followers += 1;
        Follower { followers: self.clone(), proof: proof.to_owned(), changes: of_proof.changes.subscribe() }
    }

    /// Wakes the followers of `proofs`: the database has new events or a new state of them.
    pub(super) fn notify<'a>(&self, proofs: impl IntoIterator<Item = &'a str>) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        let known = lock(&self.proofs);
        for proof in proofs {
            if let Some(of_proof) = known.get(proof) {
                of_proof.changes.send_modify(|count| *count += 1);
            }
        }
    }

    /// Returns how many notifications there were. It tells whether something that was read before is still current.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

/// Waits for changes of one proof.
#[derive(Debug)]
pub(crate) struct Follower {
    followers: Followers,
    proof: String,
    changes: watch::Receiver<u64>,
}

impl Follower {
    /// Ignores the changes so far. Call it before reading the database.
    pub(crate) fn mark_unchanged(&mut self) {
        self.changes.mark_unchanged();
    }

    /// Waits until the proof has changed since the last call of this method or of [`Follower::mark_unchanged`].
    ///
    /// # Cancel safety
    /// No change is lost if the future is dropped.
    pub(crate) async fn changed(&mut self) {
        self.changes.changed().await.expect("the sender exists while the proof has a follower");
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut proofs = lock(&self.followers.proofs);
        if let Some(of_proof) = proofs.get_mut(&self.proof) {
            of_proof.followers -= 1;
            if of_proof.followers == 0 {
                proofs.remove(&self.proof);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn one_write_wakes_only_the_followers_of_its_proof() {
        let followers = Followers::default();
        let (mut first, mut second, mut other) =
            (followers.follow("one"), followers.follow("one"), followers.follow("two"));
        followers.notify(["one", "three"]);
        assert!(first.changed().now_or_never().is_some() && second.changed().now_or_never().is_some());
        assert!(other.changed().now_or_never().is_none());
        assert!(first.changed().now_or_never().is_none(), "each change wakes once");
        followers.notify(["one"]);
        first.mark_unchanged();
        assert!(first.changed().now_or_never().is_none());
        assert_eq!(followers.changes(), 2);
    }

    #[test]
    fn proof_without_followers_takes_no_memory() {
        let followers = Followers::default();
        let (first, second) = (followers.follow("one"), followers.follow("one"));
        drop(first);
        assert_eq!(lock(&followers.proofs).len(), 1);
        drop(second);
        assert!(lock(&followers.proofs).is_empty());
    }
}
