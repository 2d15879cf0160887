//! The shares that the executions of this process have of the shared memory at `/dev/shm`.
//!
//! Each execution gets a share before it starts. It may use more, as long as the shares of the others remain available.
//! Otherwise one program could fill the shared memory, and the kernel would kill the executors of all others.

use std::collections::BTreeMap;

sp1d_model::limits! {
    /// Shared memory that an execution must get at its start. The smallest programs use this much.
    const MIN_SHARE_BYTES: u64 = 32 << 20; Bytes by Program;
    /// Part of its share that an execution has for the memory of its program. The rest is for its trace.
    const PROGRAM_SHARE_BYTES: u64 = 64 << 20; Bytes by Program;
}

/// Maximum share of one execution that does not need room for its whole trace: a quarter of the shared memory.
const MAX_SHARE_PART: u64 = 4;

/// The shares of the running executions.
#[derive(Debug)]
pub(crate) struct SharedMemoryShares {
    executions: BTreeMap<u64, SharedMemoryUse>,
    next: u64,
}

/// The share of an execution, and what it uses.
#[derive(Debug)]
struct SharedMemoryUse {
    share_bytes: u64,
    used_bytes: u64,
}

impl SharedMemoryUse {
    /// What is left of the share.
    fn left(&self) -> u64 {
        self.share_bytes.saturating_sub(self.used_bytes)
    }

    /// What the execution uses beyond its share.
    fn excess(&self) -> u64 {
        self.used_bytes.saturating_sub(self.share_bytes)
    }
}

/// The size of the shared memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SharedMemorySize {
    /// The whole size.
    pub(crate) total_bytes: u64,
    /// What no process uses.
    pub(crate) free_bytes: u64,
}

/// There is too little shared memory for another execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an execution needs at least {} MB of shared memory; /dev/shm has {} MB free\n\
     hint: remove files of other programs from it, enlarge it with `mount -o remount,size=6G /dev/shm`, or start the \
     container with `--shm-size=6g`",
    MIN_SHARE_BYTES >> 20,
    free_bytes >> 20
)]
pub(crate) struct SharedMemoryShortage {
    /// What the execution needs at its start beside the others.
    pub(crate) needed_bytes: u64,
    /// What no process uses.
    pub(crate) free_bytes: u64,
    /// What is left of the shares of other executions.
    pub(crate) promised_bytes: u64,
    /// What other executions use, as far as it is measured.
    pub(crate) used_bytes: u64,
    /// The number of other executions.
    pub(crate) others: usize,
}

impl SharedMemoryShortage {
    /// Returns true if the memory would not suffice even if all other executions ended.
    pub(crate) fn is_lasting(&self) -> bool {
        self.free_bytes.saturating_add(self.used_bytes) < MIN_SHARE_BYTES
    }
}

/// An execution uses more than its share, and another execution needs the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the program uses {} MB of the shared memory at /dev/shm; its share is {} MB, and other executions need the rest\n\
     hint: enlarge it with `mount -o remount,size=6G /dev/shm`, or run fewer proofs at the same time \
     (`--parallel-proofs` of `sp1d serve`)",
    used_bytes >> 20,
    share_bytes >> 20
)]
pub(crate) struct SharedMemoryOverdraft {
    /// What the execution uses.
    pub(crate) used_bytes: u64,
    /// Its share.
    pub(crate) share_bytes: u64,
}

impl SharedMemoryShares {
    /// Creates shares without any execution.
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self { executions: BTreeMap::new(), next: 0 }
    }

    /// Reserves a share for an execution whose trace uses up to `trace_bytes`. Returns the number of the share.
    /// Memory that other executions use beyond their shares counts as free, because their next check ends them.
    ///
    /// # Errors
    /// Fails if the smallest program does not fit beside the shares of the other executions.
    pub(crate) fn reserve(&mut self, size: SharedMemorySize, trace_bytes: u64) -> Result<u64, SharedMemoryShortage> {
        let excess = self.executions.values().map(SharedMemoryUse::excess).fold(0, u64::saturating_add);
        let most = (size.total_bytes / MAX_SHARE_PART).max(MIN_SHARE_BYTES);
        let wanted = trace_bytes.saturating_add(PROGRAM_SHARE_BYTES).min(most);
        self.take(size, size.free_bytes.saturating_add(excess), MIN_SHARE_BYTES, wanted)
    }

    /// Reserves a share for the whole trace of an execution: up to `trace_bytes`, which may be more than a quarter of
    /// the shared memory. Memory that other executions use beyond their shares does not count as free. An execution
    /// that runs alone gets what is free, because most programs need less than the whole trace. Returns the number of
    /// the share.
    ///
    /// # Errors
    /// Fails if the share does not fit beside the shares of the other executions and what they use.
    pub(crate) fn reserve_whole(
        &mut self,
        size: SharedMemorySize,
        trace_bytes: u64,
    ) -> Result<u64, SharedMemoryShortage> {
        let wanted = trace_bytes.saturating_add(PROGRAM_SHARE_BYTES).min(size.total_bytes).max(MIN_SHARE_BYTES);
        let least = if self.executions.is_empty() { MIN_SHARE_BYTES } else { wanted };
        self.take(size, size.free_bytes, least, wanted)
    }

    /// Takes a share of `wanted` bytes, and of at least `least` bytes, from the part of `usable_bytes` that is not
    /// promised to other executions. Returns the number of the share.
    fn take(
        &mut self,
        size: SharedMemorySize,
        usable_bytes: u64,
        least: u64,
        wanted: u64,
    ) -> Result<u64, SharedMemoryShortage> {
        let promised_bytes = self.left_to_others(None);
        let available = usable_bytes.saturating_sub(promised_bytes);
        if available < least {
            let others = self.executions.len();
            let used_bytes =
                self.executions.values().map(|execution| execution.used_bytes).fold(0, u64::saturating_add);
            return Err(SharedMemoryShortage {
                needed_bytes: least,
                free_bytes: size.free_bytes,
                promised_bytes,
                used_bytes,
                others,
            });
        }
        let share = SharedMemoryUse { share_bytes: wanted.min(available), used_bytes: 0 };
        let number = self.next;
        self.next += 1;
        self.executions.insert(number, share);
        Ok(number)
    }

    /// Records that the execution with the share `number` uses `used_bytes`, and checks whether it must end: it uses
    /// more than its share, no other execution exceeds its share by more, and the free memory no longer suffices for
    /// the shares of the others. Of two that exceed their shares by the same, the later one ends.
    ///
    /// # Errors
    /// Fails if the execution must end.
    pub(crate) fn check(&mut self, number: u64, used_bytes: u64, free_bytes: u64) -> Result<(), SharedMemoryOverdraft> {
        let Some(own) = self.executions.get_mut(&number) else { return Ok(()) };
        own.used_bytes = used_bytes;
        let (excess, share_bytes) = (own.excess(), own.share_bytes);
        let is_largest =
            self.executions.iter().all(|(other, execution)| (execution.excess(), *other) <= (excess, number));
        if excess > 0 && is_largest && free_bytes < self.left_to_others(Some(number)) {
            return Err(SharedMemoryOverdraft { used_bytes, share_bytes });
        }
        Ok(())
    }

    /// Returns true if all executions can take the rest of their shares from the free memory.
    #[must_use]
    pub(crate) fn are_covered(&self, free_bytes: u64) -> bool {
        free_bytes >= self.left_to_others(None)
    }

    /// Gives back the share `number`.
    pub(crate) fn release(&mut self, number: u64) {
        self.executions.remove(&number);
    }

    /// What is left of all shares, except that of `own`.
    fn left_to_others(&self, own: Option<u64>) -> u64 {
        let others = self.executions.iter().filter(|(number, _)| Some(**number) != own);
        others.map(|(_, execution)| execution.left()).fold(0, u64::saturating_add)
    }
}

/// Returns the shared memory that the trace of an execution uses: `slots` chunks of `accesses` memory accesses each.
#[must_use]
pub(crate) fn trace_bytes(slots: u64, accesses: u64) -> u64 {
    /// Size of SP1's `MemValue`.
    const BYTES_PER_ACCESS: u64 = 16;
    /// SP1 reserves a ninth more, and rounds up to large pages.
    const LARGE_PAGE_BYTES: u64 = 2 << 20;
    let chunk = (accesses.saturating_mul(BYTES_PER_ACCESS) / 9).saturating_mul(10);
    chunk.saturating_add(LARGE_PAGE_BYTES).saturating_mul(slots)
}
