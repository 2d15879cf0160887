//! The entries of the file that the workers on a machine share, and their order in the queue for memory.

use super::process_memory::ProcessIdentity;
use std::collections::BTreeMap;

/// Maximum number of provers of one worker that are read from the file.
const MAX_PROVERS: usize = 64;

/// A process that has not updated its entry for this long is frozen. The other workers no longer wait for its turn.
const MAX_UPDATE_AGE_MS: u64 = 5_000;

/// The entry of one worker process in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct WorkerEntry {
    /// Ids of the processes that prove for this worker. If empty, the worker process itself proves.
    pub(super) provers: Vec<u32>,
    /// Maximum number of attempts that the worker proves at the same time. 0 in an entry of an earlier version, which
    /// proved one attempt at a time.
    pub(super) parallel_attempts: u32,
    pub(super) rest_bytes: u64,
    pub(super) reserved_bytes: u64,
    /// When the longest-waiting attempt started to wait, in milliseconds of the machine's clock; 0 if no attempt waits.
    pub(super) waiting_since_ms: u64,
    /// When the process last updated this entry, in milliseconds of the machine's clock.
    pub(super) updated_ms: u64,
}

pub(super) type WorkerEntries = BTreeMap<ProcessIdentity, WorkerEntry>;

impl WorkerEntry {
    /// Returns the processes that prove for the worker process `own`, which has this entry.
    pub(super) fn processes(&self, own: ProcessIdentity) -> impl Iterator<Item = u32> {
        let alone = self.provers.is_empty().then_some(own.id);
        self.provers.iter().copied().chain(alone)
    }

    /// Returns true if an attempt of the process waits and the process is not frozen. An update from the future does
    /// not count: the clock has stepped back since, and a process that is not frozen soon updates its entry again.
    pub(super) fn is_waiting(&self, now_ms: u64) -> bool {
        self.waiting_since_ms != 0 && now_ms.abs_diff(self.updated_ms) < MAX_UPDATE_AGE_MS
    }
}

/// Returns true if no other process has been waiting since before `since_ms`.
pub(super) fn is_turn(entries: &WorkerEntries, own: ProcessIdentity, since_ms: u64, now_ms: u64) -> bool {
    let mut others = entries.iter().filter(|(process, entry)| **process != own && entry.is_waiting(now_ms));
    others.all(|(_, entry)| entry.waiting_since_ms >= since_ms)
}

/// Formats an entry as a line of the file.
pub(super) fn entry_line(process: ProcessIdentity, entry: &WorkerEntry) -> String {
    let ProcessIdentity { id, started } = process;
    let WorkerEntry { provers, parallel_attempts, rest_bytes, reserved_bytes, waiting_since_ms, updated_ms } = entry;
    let provers: Vec<String> = provers.iter().map(u32::to_string).collect();
    let provers = provers.join(",");
    format!(
        "{id} {started} {rest_bytes} {reserved_bytes} {waiting_since_ms} {updated_ms} {provers} {parallel_attempts}\n"
    )
}

/// Parses the file. Invalid lines are ignored: a later version or another program may have written them.
pub(super) fn parse_entries(text: &str) -> WorkerEntries {
    let entry = |line: &str| {
        let mut fields = line.split(' ');
        let mut field = || fields.next()?.parse::<u64>().ok();
        let process = ProcessIdentity { id: u32::try_from(field()?).ok()?, started: field()? };
        let (rest_bytes, reserved_bytes, waiting_since_ms, updated_ms) = (field()?, field()?, field()?, field()?);
        let provers = fields.next().unwrap_or_default().split(',').take(MAX_PROVERS);
        let provers = provers.filter_map(|id| id.parse().ok()).collect();
        let parallel_attempts = fields.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Some((
            process,
            WorkerEntry { provers, parallel_attempts, rest_bytes, reserved_bytes, waiting_since_ms, updated_ms },
        ))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(id: u32) -> ProcessIdentity {
        ProcessIdentity { id, started: 0 }
    }

    #[test]
    fn the_longest_waiting_process_is_next_unless_it_is_frozen() {
        let waiting = |since| WorkerEntry { waiting_since_ms: since, updated_ms: 9000, ..WorkerEntry::default() };
        let entries = WorkerEntries::from([(other(1), waiting(100)), (other(2), waiting(0)), (other(3), waiting(300))]);
        let is_turn = |id, since, now| is_turn(&entries, other(id), since, now);
        assert!(is_turn(1, 100, 9000));
        assert!(!is_turn(2, 200, 9000), "1 has waited longer");
        assert!(!is_turn(3, 300, 9000));
        assert!(is_turn(2, 50, 9000));
        assert!(is_turn(2, 200, 9000 + MAX_UPDATE_AGE_MS));
        assert!(is_turn(2, 200, 9000 - MAX_UPDATE_AGE_MS), "the entry of 1 is from the future");
    }
}
