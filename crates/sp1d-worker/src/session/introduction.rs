//! A worker's description of itself.

use crate::{gpu_monitor::GpuMonitor, machine_memory::MemoryPlan};
use sp1d_model::{KindSet, TaskKind};
use sp1d_protocol::{Build, wire::Machine};
use std::collections::BTreeMap;

/// A worker's description of itself. Everything but `plan` and `gpus` is sent to every orchestrator at the start of a
/// session.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// The worker's name, for people.
    pub name: String,
    /// The SP1 version and features that the worker proves with, and the worker's release.
    pub build: Build,
    /// The worker's hardware.
    pub machine: Machine,
    /// The task kinds that the worker supports.
    pub capabilities: Capabilities,
    /// The memory that the worker's provers are expected to use.
    pub plan: MemoryPlan,
    /// Reads the GPUs that the worker proves on.
    pub gpus: GpuMonitor,
}

#[cfg(test)]
impl Introduction {
    /// The introduction of a worker for tests. It supports every task kind.
    pub(super) fn example() -> Self {
        Self {
            name: "one".to_owned(),
            build: sp1d_protocol::wire::Build::default().into(),
            machine: Machine::default(),
            capabilities: Capabilities::all(),
            plan: MemoryPlan::default(),
            gpus: GpuMonitor::default(),
        }
    }
}

/// The task kinds that a worker supports, and why it does not support the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    missing: BTreeMap<TaskKind, String>,
}

impl Capabilities {
    /// Creates a value that supports every task kind.
    #[must_use]
    pub fn all() -> Self {
        Self { missing: BTreeMap::new() }
    }

    /// Removes the support for tasks of `kind`. `reason` is one sentence: it states what is missing and where the
    /// worker looked for it.
    #[must_use]
    pub fn without(mut self, kind: TaskKind, reason: impl Into<String>) -> Self {
        self.missing.insert(kind, reason.into());
        self
    }

    /// Returns the supported task kinds.
    #[must_use]
    pub fn kinds(&self) -> KindSet {
        TaskKind::ALL.into_iter().filter(|kind| !self.missing.contains_key(kind)).collect()
    }

    /// Returns the unsupported task kinds, each with the reason.
    #[must_use]
    pub fn missing(&self) -> &BTreeMap<TaskKind, String> {
        &self.missing
    }
}
