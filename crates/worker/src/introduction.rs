//! What a worker says of itself.

use protocol::{Build, wire::Machine};
use scheduler::{KindSet, TaskKind};
use std::collections::BTreeMap;

/// Told to every orchestrator before anything else.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// Its name, for people.
    pub name: String,
    /// What it proves with.
    pub build: Build,
    /// What it runs on.
    pub machine: Machine,
    /// What it can do.
    pub abilities: Abilities,
    /// What its provers take of the machine's memory.
    pub plan: MemoryPlan,
}

/// What the provers of a worker take, as far as that is known before they are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryPlan {
    /// Bytes of all of them together while they prove nothing.
    pub rest_bytes: u64,
    /// Attempts that they prove at the same time, at most.
    pub stages: u32,
}

/// The tasks a worker does, and why it does not do the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    missing: BTreeMap<TaskKind, String>,
}

impl Abilities {
    /// Every kind of task.
    #[must_use]
    pub fn all() -> Self {
        Self { missing: BTreeMap::new() }
    }

    /// Without tasks of `kind`, for `reason`: one sentence that says what is missing and where it is looked for.
    #[must_use]
    pub fn without(mut self, kind: TaskKind, reason: impl Into<String>) -> Self {
        self.missing.insert(kind, reason.into());
        self
    }

    /// The kinds that are done.
    #[must_use]
    pub fn kinds(&self) -> KindSet {
        TaskKind::ALL.into_iter().filter(|kind| !self.missing.contains_key(kind)).collect()
    }

    /// Why the others are not.
    #[must_use]
    pub fn missing(&self) -> &BTreeMap<TaskKind, String> {
        &self.missing
    }
}
