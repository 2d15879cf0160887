//! Calculates how the workers on a machine share its memory.

use super::{
    entry::WorkerEntries,
    process_memory::{MemoryByProcess, ProcessIdentity},
};
use sp1d_machine::Memory;
use sp1d_protocol::wire::AttemptMemory;

/// Returns true if `bytes` for a new attempt of `own` fit beside all reservations. Memory that a worker uses beyond its
/// memory at rest counts as part of its reservation. Memory that `own` keeps from earlier attempts serves the new
/// attempt.
pub(super) fn fits(
    entries: &WorkerEntries,
    own: ProcessIdentity,
    bytes: u64,
    available_bytes: u64,
    resident: impl Fn(u32) -> Option<u64>,
) -> bool {
    let sum = |all: &mut dyn Iterator<Item = u64>| all.fold(0, u64::saturating_add);
    let reserved = sum(&mut entries.values().map(|entry| entry.reserved_bytes));
    let in_use = sum(&mut entries.iter().map(|(process, entry)| {
        let used = sum(&mut entry.processes(*process).filter_map(&resident));
        let beyond = used.saturating_sub(entry.rest_bytes);
        let requested = if *process == own { bytes } else { 0 };
        beyond.min(entry.reserved_bytes.saturating_add(requested))
    }));
    reserved == 0 || reserved.saturating_add(bytes) <= available_bytes.saturating_add(in_use)
}

/// Returns the bytes that are in use, but not by the workers in `entries`.
pub(super) fn foreign_bytes(entries: &WorkerEntries, memory: Memory, used: &MemoryByProcess) -> u64 {
    let processes = entries.iter().flat_map(|(process, entry)| entry.processes(*process));
    let own = processes.filter_map(|process| used.get(&process));
    let own =
        own.map(|used| used.held_bytes.unwrap_or(0).saturating_add(used.freed_bytes)).fold(0, u64::saturating_add);
    memory.total_bytes.saturating_sub(memory.available_bytes).saturating_sub(own)
}

/// Returns how much of `memory` attempts can have. The workers in `entries` share this memory, and their processes use
/// it as in `used`.
pub(super) fn shares(entries: &WorkerEntries, memory: Memory, used: &MemoryByProcess) -> AttemptMemory {
    /// 1/`MARGIN` of the memory stays free: for the system, for late measurements, and for estimates that are too low.
    const MARGIN: u64 = 32;
    let sum = |all: &mut dyn Iterator<Item = u64>| all.fold(0, u64::saturating_add);
    let used_by = |process: u32| used.get(&process);
    let held = sum(&mut entries.iter().flat_map(|(process, entry)| {
        entry.processes(*process).filter_map(|process| used_by(process)?.held_bytes).collect::<Vec<_>>()
    }));
    // `memory.available_bytes` leaves out lazily freed memory. Add it here, as for a reservation.
    let freed = sum(&mut used.values().map(|used| used.freed_bytes));
    let free_at_rest = memory.available_bytes.saturating_add(held).saturating_add(freed).min(memory.total_bytes);
    let rest = sum(&mut entries.values().map(|entry| entry.rest_bytes));
    let alone_bytes = free_at_rest.saturating_sub(rest).saturating_sub(memory.total_bytes / MARGIN);
    let parallel_attempts = sum(&mut entries.values().map(|entry| u64::from(entry.parallel_attempts.max(1))));
    AttemptMemory { each_bytes: alone_bytes / parallel_attempts.max(1), alone_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine_memory::{entry::WorkerEntry, process_memory::ProcessMemory};

    const GB: u64 = 1 << 30;

    fn other(id: u32) -> ProcessIdentity {
        ProcessIdentity { id, started: 0 }
    }

    fn entry(rest: u64, reserved: u64) -> WorkerEntry {
        WorkerEntry { rest_bytes: rest * GB, reserved_bytes: reserved * GB, ..WorkerEntry::default() }
    }

    /// Two workers use 7 GiB each at rest. The first has reserved `reserved` and uses `used` beyond its memory at rest.
    /// The second asks for `bytes`. All values are in GiB.
    fn check(reserved: u64, used: u64, available: u64, bytes: u64, expected: bool) {
        let entries = WorkerEntries::from([(other(1), entry(7, reserved)), (other(2), entry(7, 0))]);
        let resident = |process| Some(if process == 1 { (7 + used) * GB } else { 7 * GB });
        assert_eq!(fits(&entries, other(2), bytes * GB, available * GB, resident), expected);
    }

    #[test]
    fn an_attempt_starts_when_all_reservations_fit() {
        check(5, 0, 10, 5, true);
        check(5, 5, 5, 5, true);
        check(6, 0, 10, 6, false);
        check(6, 6, 4, 6, false);
        check(6, 6, 4, 4, true);
    }

    #[test]
    fn an_attempt_that_never_fits_runs_alone() {
        check(0, 0, 1, 100, true);
    }

    #[test]
    fn memory_used_beyond_a_reservation_is_not_free() {
        // The first worker uses 3 GiB more than it has reserved. It will not free them.
        check(2, 5, 6, 6, true);
        check(2, 5, 5, 6, false);
    }

    #[test]
    fn memory_that_a_worker_keeps_serves_its_next_attempt() {
        let entries = WorkerEntries::from([(other(1), entry(7, 5)), (other(2), entry(7, 0))]);
        // Both workers keep 2 GiB from earlier attempts. The first has not started to use more.
        let resident = |_| Some(9 * GB);
        assert!(fits(&entries, other(2), 5 * GB, 6 * GB, resident));
        assert!(!fits(&entries, other(2), 5 * GB, 5 * GB, resident));
    }

    #[test]
    fn numbers_in_a_hostile_file_cause_no_overflow() {
        let hostile = WorkerEntry { reserved_bytes: u64::MAX, ..entry(0, 0) };
        let entries = WorkerEntries::from([(other(1), entry(0, 0)), (other(2), hostile)]);
        assert!(!fits(&entries, other(1), u64::MAX, u64::MAX / 2, |_| Some(0)));
        assert!(fits(&entries, other(1), 1, u64::MAX, |_| Some(u64::MAX)));
    }

    #[test]
    fn memory_that_no_listed_worker_uses_is_foreign() {
        let check = |available: u64, held: u64, freed: u64, foreign: u64| {
            let memory = Memory { available_bytes: available * GB, total_bytes: 64 * GB };
            let used = ProcessMemory { held_bytes: Some(held * GB), freed_bytes: freed * GB };
            let entries = WorkerEntries::from([(other(1), entry(1, 0))]);
            let used = MemoryByProcess::from([(1, used), (2, used)]);
            assert_eq!(foreign_bytes(&entries, memory, &used), foreign * GB);
        };
        check(60, 1, 0, 3);
        check(40, 20, 2, 2);
        // The values were read at different moments, so the workers seem to use more than the machine.
        check(60, 20, 2, 0);
    }

    /// One or two workers on a machine with 32 GiB, of which 22 GiB are free without these workers. Each worker uses 1
    /// GiB at rest. The first proves `first` attempts at a time, the second `second` attempts, if there is a second
    /// worker. `alone` and `each` are the expected shares in GiB.
    fn check_shares(first: u32, second: Option<u32>, alone: u64, each: u64) {
        let planned = |parallel_attempts| WorkerEntry { parallel_attempts, ..entry(1, 0) };
        let mut entries = WorkerEntries::from([(other(1), planned(first))]);
        entries.extend(second.map(|second| (other(2), planned(second))));
        let memory = Memory { available_bytes: 22 * GB - entries.len() as u64 * GB, total_bytes: 32 * GB };
        let used = ProcessMemory { held_bytes: Some(GB), freed_bytes: 0 };
        let used: MemoryByProcess = entries.keys().map(|process| (process.id, used)).collect();
        let shares = shares(&entries, memory, &used);
        assert_eq!((shares.alone_bytes / GB, shares.each_bytes / GB), (alone, each));
    }

    #[test]
    fn workers_share_the_memory_that_idle_provers_leave() {
        check_shares(1, None, 20, 20);
        check_shares(2, None, 20, 10);
        check_shares(1, Some(1), 19, 9);
        check_shares(1, Some(3), 19, 4);
        check_shares(1, Some(0), 19, 9);
    }
}
