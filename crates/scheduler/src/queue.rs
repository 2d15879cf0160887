//! The order in which tasks get slots.

use crate::{TaskId, TaskKind, lanes::Lanes};

/// The waiting tasks.
pub(crate) type Queue = Lanes<Rank>;

/// How useful a task is, the most useful first.
///
/// A task keeps its rank when it is retried or requeued, so it comes before everything that was submitted after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Earlier proofs first: finishing one proof is worth more than having two halves.
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
