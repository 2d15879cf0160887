//! The order in which tasks get slots.

use crate::{AttemptId, TaskId, TaskKind, exclusions::Exclusions, lanes::Lanes};
use std::collections::{BTreeMap, BTreeSet};

/// The waiting tasks, and which proof's turn it is: that of the proof that workers are at fewest tasks of. So proofs
/// share the slots evenly, and a short one ends soon beside a long one.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// By the position of the proof; of each of which something waits, is held, or was given.
    proofs: BTreeMap<u64, Share>,
    /// The turns of those of which something waits.
    turns: BTreeSet<Turn>,
    /// Tasks by kind.
    len: [usize; TaskKind::ALL.len()],
}

/// A proof's part.
#[derive(Debug)]
struct Share {
    waiting: Lanes<Rank>,
    turn: Turn,
}

/// The lower, the sooner a proof gets a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// Attempts that workers are at.
    held: usize,
    /// The last attempt that was given: with more proofs than slots those that have just delivered would be first for
    /// ever.
    last: AttemptId,
    /// The position of the proof.
    proof: u64,
}

impl Queue {
    /// Number of tasks.
    pub(crate) fn len(&self) -> usize {
        self.len.iter().sum()
    }

    /// Number of tasks of `kind`.
    pub(crate) const fn len_of(&self, kind: TaskKind) -> usize {
        self.len[kind.index()]
    }

    /// Changes what is known of a proof, and its turn with it.
    fn change<T>(&mut self, proof: u64, change: impl FnOnce(&mut Share) -> T) -> T {
        let new = || Share { waiting: Lanes::new(), turn: Turn { held: 0, last: AttemptId(0), proof } };
        let share = self.proofs.entry(proof).or_insert_with(new);
        let before = share.turn;
        let outcome = change(share);
        let waits = share.waiting.len() > 0;
        // In the usual case nothing has changed that counts.
        if share.turn != before || !waits {
            self.turns.remove(&before);
        }
        if waits {
            self.turns.insert(share.turn);
        }
        outcome
    }

    /// Adds a task, which is not there.
    pub(crate) fn insert(&mut self, kind: TaskKind, excluded: &Exclusions, rank: Rank) {
        self.change(rank.proof_order, |share| share.waiting.insert(kind, excluded, rank));
        self.len[kind.index()] += 1;
    }

    /// Removes a task; nothing when it isn't there.
    pub(crate) fn remove(&mut self, kind: TaskKind, excluded: &Exclusions, rank: Rank) {
        if self.change(rank.proof_order, |share| share.waiting.remove(kind, excluded, rank)) {
            self.len[kind.index()] -= 1;
        }
    }

    /// A worker is at a task of `rank` from now on.
    pub(crate) fn hold(&mut self, rank: Rank, attempt: AttemptId) {
        self.change(rank.proof_order, |share| {
            share.turn.held += 1;
            share.turn.last = share.turn.last.max(attempt);
        });
    }

    /// A worker that was at a task of `rank` is so no longer, or is not counted on any more.
    pub(crate) fn release(&mut self, rank: Rank) {
        self.change(rank.proof_order, |share| share.turn.held -= 1);
    }

    /// Forgets a proof, of which nothing waits and nothing is held.
    pub(crate) fn forget(&mut self, proof: u64) {
        self.proofs.remove(&proof);
    }

    /// What waits, proof by proof, in the order of their turns.
    pub(crate) fn turns(&self) -> impl Iterator<Item = &Lanes<Rank>> {
        self.turns.iter().map(|turn| &self.proofs[&turn.proof].waiting)
    }

    /// Every task, after comparing the turns with the tasks and with what is `held`, by the position of the proof.
    pub(crate) fn check_invariants(&self, held: &BTreeMap<u64, usize>) -> BTreeMap<Rank, (TaskKind, &Exclusions)> {
        let counted = self.proofs.iter().map(|(proof, share)| (*proof, share.turn.held));
        let counted: BTreeMap<u64, usize> = counted.filter(|(_, held)| *held > 0).collect();
        assert_eq!(counted, *held, "what is held of the proofs is miscounted");
        let waiting = self.proofs.values().filter(|share| share.waiting.len() > 0);
        let turns: BTreeSet<Turn> = waiting.map(|share| share.turn).collect();
        assert_eq!(self.turns, turns, "a proof does not get its turn");
        let mut tasks = BTreeMap::new();
        for (proof, Share { waiting, turn }) in &self.proofs {
            let of_proof = waiting.check_invariants();
            assert_eq!(turn.proof, *proof, "a proof has another's turn");
            assert!(of_proof.keys().all(|rank| rank.proof_order == *proof), "a task waits as one of another proof");
            tasks.extend(of_proof);
        }
        for kind in TaskKind::ALL {
            let of_kind = tasks.values().filter(|(found, _)| *found == kind).count();
            assert_eq!(self.len_of(kind), of_kind, "the number of tasks of {kind} is wrong");
        }
        tasks
    }

    /// Number of proofs that something is known of.
    #[cfg(test)]
    pub(crate) fn proofs(&self) -> usize {
        self.proofs.len()
    }
}

/// How useful a task is among those of its proof, the most useful first.
///
/// A task keeps its rank when it is retried or requeued, so it comes before everything that was submitted after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// The position of its proof among all proofs.
    proof_order: u64,
    /// Folding first: it frees what its inputs occupy and shortens the tree, while shards only add to it.
    urgency: Urgency,
    /// Then as submitted. Never the same twice, so nothing after it decides.
    submission: u64,
    /// Whose rank it is.
    task: TaskId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Recursion,
    Shard,
}

impl Rank {
    pub(crate) const fn new(proof_order: u64, kind: TaskKind, submission: u64, task: TaskId) -> Self {
        let urgency = match kind {
            TaskKind::ProveShard | TaskKind::NormalizeShard => Urgency::Shard,
            TaskKind::RecursionReduce
            | TaskKind::RecursionDeferred
            | TaskKind::ShrinkWrap
            | TaskKind::PlonkWrap
            | TaskKind::Groth16Wrap => Urgency::Recursion,
        };
        Self { proof_order, urgency, submission, task }
    }

    pub(crate) const fn task(self) -> TaskId {
        self.task
    }
}
