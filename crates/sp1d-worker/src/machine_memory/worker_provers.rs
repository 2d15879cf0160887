//! The provers of this worker, as the other workers on the machine see them.

use super::{plan::MemoryPlan, process_memory::ProcessMemory};
use crate::engine::{Footprint, ProvingEngine};
use std::{
    fmt, process,
    sync::{Arc, OnceLock},
};

pub(super) struct WorkerProvers {
    plan: MemoryPlan,
    /// The engine, and the resident bytes of this process when it was loaded and idle.
    loaded: OnceLock<(Arc<dyn ProvingEngine>, u64)>,
}

impl WorkerProvers {
    pub(super) fn new(plan: MemoryPlan) -> Self {
        Self { plan, loaded: OnceLock::new() }
    }

    /// Sets the engine. Call this when the provers are loaded and idle.
    pub(super) fn set_engine(&self, engine: &Arc<dyn ProvingEngine>) {
        let rest_here = ProcessMemory::of(process::id()).held_bytes.unwrap_or(0);
        // Keep the first value: a worker has only one engine.
        let _ = self.loaded.set((engine.clone(), rest_here));
    }

    /// Returns the maximum number of attempts that the provers prove at the same time.
    pub(super) fn parallel_attempts(&self) -> u32 {
        self.plan.parallel_attempts
    }

    pub(super) fn footprint(&self) -> Footprint {
        let Some((engine, rest_here)) = self.loaded.get() else {
            return Footprint { processes: Vec::new(), rest_bytes: self.plan.rest_bytes };
        };
        let found = engine.footprint();
        let rest_bytes = if found.rest_bytes == 0 { *rest_here } else { found.rest_bytes };
        // Nothing is known about provers that are loading again.
        if found.processes.is_empty() {
            Footprint { rest_bytes: self.plan.rest_bytes, ..found }
        } else {
            Footprint { rest_bytes, ..found }
        }
    }
}

impl fmt::Debug for WorkerProvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.footprint().fmt(f)
    }
}
