//! Processes of this machine, and the memory that they use.

use sp1d_machine::{lazily_freed_bytes, resident_bytes};
use std::{collections::BTreeMap, fs, process};

/// A process, identified by its id and start time, because the kernel reuses ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProcessIdentity {
    pub(super) id: u32,
    pub(super) started: u64,
}

impl ProcessIdentity {
    pub(super) fn own() -> Option<Self> {
        let id = process::id();
        Some(Self { id, started: start_time(id)? })
    }

    pub(super) fn is_running(self) -> bool {
        start_time(self.id) == Some(self.started)
    }
}

/// Returns the start time of a process in clock ticks since boot, or `None` if the process is gone. This is field 22 of
/// `/proc/PID/stat`, see proc(5).
fn start_time(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse().ok()
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessMemory {
    /// Bytes that the process holds; `None` if the process is gone.
    pub(super) held_bytes: Option<u64>,
    /// Bytes that the process has freed, and that the kernel can reclaim at any time.
    pub(super) freed_bytes: u64,
}

impl ProcessMemory {
    pub(super) fn of(process: u32) -> Self {
        let freed_bytes = lazily_freed_bytes(process);
        Self { held_bytes: resident_bytes(process).map(|resident| resident.saturating_sub(freed_bytes)), freed_bytes }
    }
}

pub(super) type MemoryByProcess = BTreeMap<u32, ProcessMemory>;
