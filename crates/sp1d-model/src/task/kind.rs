//! The capability that a task needs from a worker.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of tasks that workers run. Markers have no kind, because no worker runs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Generate the trace of one shard and prove it: a shard of a core proof.
    ProveShard,
    /// Prove one shard as for [`TaskKind::ProveShard`], then verify that proof in a recursion proof. Every mode except
    /// core starts with this kind. It takes several times as long as [`TaskKind::ProveShard`], and at least as much
    /// memory: see `docs/concepts/memory.md`.
    NormalizeShard,
    /// Combine neighboring recursion proofs into one.
    RecursionReduce,
    /// Make a recursion proof of one input proof: a proof that the program itself verifies.
    RecursionDeferred,
    /// Shrink a compressed proof and wrap it for the on-chain modes.
    ShrinkWrap,
    /// Make the final PLONK proof.
    PlonkWrap,
    /// Make the final Groth16 proof.
    Groth16Wrap,
}

impl TaskKind {
    /// Every kind, in order of declaration.
    pub const ALL: [Self; 7] = [
        Self::ProveShard,
        Self::NormalizeShard,
        Self::RecursionReduce,
        Self::RecursionDeferred,
        Self::ShrinkWrap,
        Self::PlonkWrap,
        Self::Groth16Wrap,
    ];

    /// Returns the stable name, as in JSON, logs and metrics.
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

    /// Returns true for the kinds that prove one shard of the execution.
    #[must_use]
    pub const fn is_shard(self) -> bool {
        matches!(self, Self::ProveShard | Self::NormalizeShard)
    }

    /// Returns the position in [`TaskKind::ALL`].
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

/// A set of task kinds, for example those that a worker supports. Each kind has the bit of its position in
/// [`TaskKind::ALL`].
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSet(u8);

const _: () = assert!(TaskKind::ALL.len() <= u8::BITS as usize, "each kind needs a bit of `KindSet`");

impl KindSet {
    /// Returns the set of all kinds.
    #[must_use]
    pub fn all() -> Self {
        TaskKind::ALL.into_iter().collect()
    }

    /// Returns true if `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: TaskKind) -> bool {
        self.0 & (1 << kind.index()) != 0
    }

    /// Returns the set that contains only `kind`.
    #[must_use]
    pub const fn only(kind: TaskKind) -> Self {
        Self(1 << kind.index())
    }

    /// Returns the kinds that are in this set or in `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the kinds that are in this set and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns true if the set contains no kind.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the kinds in the set, in the order of [`TaskKind::ALL`].
    pub fn iter(self) -> impl Iterator<Item = TaskKind> {
        TaskKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<TaskKind> for KindSet {
    fn from_iter<I: IntoIterator<Item = TaskKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | 1 << kind.index()))
    }
}

/// Shows the names of the kinds with commas, or `all` for the set of all kinds.
impl fmt::Display for KindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::all() {
            return f.pad("all");
        }
        let names: Vec<&str> = self.iter().map(TaskKind::name).collect();
        f.pad(&names.join(", "))
    }
}

impl fmt::Debug for KindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_same_name_in_json() {
        for kind in TaskKind::ALL {
            let json = format!("\"{}\"", kind.name());
            assert_eq!(serde_json::to_string(&kind).unwrap(), json);
            assert_eq!(serde_json::from_str::<TaskKind>(&json).unwrap(), kind);
        }
    }

    #[test]
    fn sets_are_combined_and_shown_by_their_names() {
        let (shard, reduce) = (KindSet::only(TaskKind::ProveShard), KindSet::only(TaskKind::RecursionReduce));
        let both = shard.with(reduce);
        assert_eq!(both.to_string(), "prove_shard, recursion_reduce");
        assert_eq!((both.without(shard), shard.without(both)), (reduce, KindSet::default()));
        assert_eq!((KindSet::all().to_string(), KindSet::default().to_string()), ("all".to_owned(), String::new()));
    }
}
