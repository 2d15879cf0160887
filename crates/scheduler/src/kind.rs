//! What a task asks of a worker.

use std::fmt;

/// Kinds of tasks that workers run. Markers are not among them: see [`crate::Event::MarkerSubmitted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaskKind {
    /// Trace and prove one shard of a core proof.
    ProveShard,
    /// Trace and prove one shard, and verify that in a recursion proof: every mode but core begins so. It takes some
    /// times the time of [`TaskKind::ProveShard`], and half as much memory again.
    NormalizeShard,
    /// Fold neighbouring recursion proofs into one.
    RecursionReduce,
    /// Recursion proof over proofs that the program verifies.
    RecursionDeferred,
    /// Shrink a compressed proof and wrap it for the on-chain modes.
    ShrinkWrap,
    /// Final PLONK proof.
    PlonkWrap,
    /// Final Groth16 proof.
    Groth16Wrap,
}

impl TaskKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 7] = [
        Self::ProveShard,
        Self::NormalizeShard,
        Self::RecursionReduce,
        Self::RecursionDeferred,
        Self::ShrinkWrap,
        Self::PlonkWrap,
        Self::Groth16Wrap,
    ];

    /// Stable name, as logs and metrics show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProveShard => "prove_shard",
            Self::NormalizeShard => "normalize_shard",
            Self::RecursionReduce => "recursion_reduce",
            Self::RecursionDeferred => "recursion_deferred",
            Self::ShrinkWrap => "shrink_wrap",
            Self::PlonkWrap => "plonk_wrap",
            Self::Groth16Wrap => "groth16_wrap",
        }
    }

    /// True for those that are made of a shard's record: the pieces that a run is cut into.
    #[must_use]
    pub const fn is_shard(self) -> bool {
        matches!(self, Self::ProveShard | Self::NormalizeShard)
    }

    /// Position in [`TaskKind::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of task kinds: what a worker can do.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSet(u8);

impl KindSet {
    /// Every kind.
    #[must_use]
    pub fn all() -> Self {
        TaskKind::ALL.into_iter().collect()
    }

    /// True when `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: TaskKind) -> bool {
        self.0 & (1 << kind.index()) != 0
    }

    /// True when nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds of the set, in the order of [`TaskKind::ALL`].
    pub fn iter(self) -> impl Iterator<Item = TaskKind> {
        TaskKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<TaskKind> for KindSet {
    fn from_iter<I: IntoIterator<Item = TaskKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | 1 << kind.index()))
    }
}

impl fmt::Debug for KindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
