//! What the attempts on a host may take of its memory, over all worker processes.
//!
//! A proving stage takes gigabytes within seconds and gives them back. Looking at free memory before it begins is not enough: another worker looks at the
//! same memory in the same moment. So every worker writes down what its attempts will take, and an attempt begins when all of that fits.

use crate::Memory;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
    param::page_size,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Duration,
};

/// How often an attempt that does not fit looks again.
const PAUSE: Duration = Duration::from_millis(250);

/// A host's ledger: a file that its workers share. Where it cannot be used, everything fits.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    path: Arc<Path>,
    /// Resident bytes of this process when nothing proves in it.
    rest_bytes: u64,
}

/// One worker process, as it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    rest_bytes: u64,
    reserved_bytes: u64,
}

type Entries = BTreeMap<u32, Entry>;

/// What an attempt may take. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    ledger: Ledger,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let give_back = |entries: &mut Entries| {
            if let Some(entry) = entries.get_mut(&process::id()) {
                entry.reserved_bytes = entry.reserved_bytes.saturating_sub(self.bytes);
            }
        };
        if let Err(error) = self.ledger.change(give_back) {
            tracing::debug!(%error, "give memory back");
        }
    }
}

impl Ledger {
    /// The ledger of this host; to be made when the engine is loaded and idle.
    pub(crate) fn of_host() -> Self {
        // Where the start lock is, and for the same reason.
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { shared } else { Path::new("/tmp") };
        Self::at(folder.join("sp1d-memory"), resident_bytes(process::id()).unwrap_or(0))
    }

    fn at(path: PathBuf, rest_bytes: u64) -> Self {
        Self { path: path.into(), rest_bytes }
    }

    /// Resolves when `bytes` more fit into the host's memory, or nobody else has any reserved: an attempt that fits nowhere is tried alone.
    ///
    /// # Cancel safety
    /// Nothing is reserved when the future is dropped.
    pub(crate) async fn reserve(&self, bytes: u64) -> Option<Reservation> {
        let mut waited = false;
        loop {
            let available_bytes = Memory::now()?.available_bytes;
            match self.change(|entries| self.enter(entries, bytes, available_bytes, resident_bytes)) {
                Ok(true) => return Some(Reservation { ledger: self.clone(), bytes }),
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, "reserve memory");
                    return None;
                }
            }
            if !std::mem::replace(&mut waited, true) {
                tracing::info!(megabytes = bytes >> 20, "waiting for memory that other attempts on this machine use");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes `bytes` down for this process if they fit; false when not. Forgets processes that are gone.
    fn enter(
        &self,
        entries: &mut Entries,
        bytes: u64,
        available_bytes: u64,
        resident: impl Fn(u32) -> Option<u64>,
    ) -> bool {
        entries.retain(|process, _| resident(*process).is_some());
        let fits = fits(entries, bytes, available_bytes, resident);
        if fits {
            let own = entries.entry(process::id()).or_insert(Entry { rest_bytes: self.rest_bytes, reserved_bytes: 0 });
            own.reserved_bytes += bytes;
        }
        fits
    }

    /// Changes the entries; no other process does meanwhile.
    fn change<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> io::Result<T> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let everyone = Mode::from_raw_mode(0o666);
        // Without O_CREATE first: in a sticky folder Linux refuses it on a file of another user (fs.protected_regular).
        let file = match open(&*self.path, flags, everyone) {
            Err(Errno::NOENT) => open(&*self.path, flags | OFlags::CREATE, everyone),
            other => other,
        }?;
        // Held for the length of this call, by every process: it does not block for long.
        flock(&file, FlockOperation::LockExclusive)?;
        let mut file = File::from(file);
        let mut text = String::new();
        Read::by_ref(&mut file).take(1 << 20).read_to_string(&mut text)?;
        let mut entries = parse(&text);
        let outcome = change(&mut entries);
        let text: String = entries
            .iter()
            .map(|(process, entry)| format!("{process} {} {}\n", entry.rest_bytes, entry.reserved_bytes))
            .collect();
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        Ok(outcome)
    }
}

/// Lines of process, resting bytes and reserved bytes. Others, of a later version or of somebody's mischief, are passed over.
fn parse(text: &str) -> Entries {
    let entry = |line: &str| {
        let mut fields = line.split(' ').map(str::parse::<u64>);
        let process = u32::try_from(fields.next()?.ok()?).ok()?;
        Some((process, Entry { rest_bytes: fields.next()?.ok()?, reserved_bytes: fields.next()?.ok()? }))
    };
    text.lines().filter_map(entry).collect()
}

/// True when `bytes` fit beside all that is reserved. What the workers use beyond their rest at the moment is part of what they have reserved.
fn fits(entries: &Entries, bytes: u64, available_bytes: u64, resident: impl Fn(u32) -> Option<u64>) -> bool {
    let reserved: u64 = entries.values().map(|entry| entry.reserved_bytes).sum();
    let in_use = |(process, entry): (&u32, &Entry)| {
        let beyond = resident(*process).unwrap_or(0).saturating_sub(entry.rest_bytes);
        beyond.min(entry.reserved_bytes)
    };
    let for_attempts = available_bytes + entries.iter().map(in_use).sum::<u64>();
    reserved == 0 || reserved.saturating_add(bytes) <= for_attempts
}

/// Resident bytes of a process; none when it is gone. See proc(5), statm.
fn resident_bytes(process: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;

    fn entry(rest: u64, reserved: u64) -> Entry {
        Entry { rest_bytes: rest * GB, reserved_bytes: reserved * GB }
    }

    /// Two workers that rest at 7 GB; the second asks for `bytes` beside the first's `reserved`, of which it uses `used` already.
    fn check(reserved: u64, used: u64, available: u64, bytes: u64, expected: bool) {
        let entries = Entries::from([(1, entry(7, reserved)), (2, entry(7, 0))]);
        let resident = |process| Some(if process == 1 { (7 + used) * GB } else { 7 * GB });
        assert_eq!(fits(&entries, bytes * GB, available * GB, resident), expected);
    }

    #[test]
    fn an_attempt_begins_when_all_that_is_reserved_fits() {
        check(5, 0, 10, 5, true);
        check(5, 5, 5, 5, true);
        check(6, 0, 10, 6, false);
        check(6, 6, 4, 6, false);
        check(6, 6, 4, 4, true);
    }

    #[test]
    fn an_attempt_that_never_fits_is_tried_alone() {
        check(0, 0, 1, 100, true);
    }

    #[test]
    fn what_a_worker_keeps_beyond_its_reservation_is_not_free() {
        // It rests at more than it did: the 3 GB too many will not come back.
        check(2, 5, 6, 6, true);
        check(2, 5, 5, 6, false);
    }

    #[tokio::test]
    async fn reservations_are_given_back_and_the_dead_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        // No process has this number.
        fs::write(&path, format!("{} 1 {}\nnonsense\n", u32::MAX, u64::MAX / 2)).unwrap();
        let ledger = Ledger::at(path.clone(), 0);
        let reservation = ledger.reserve(1).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{} 0 1\n", process::id()));
        drop(reservation);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{} 0 0\n", process::id()));
    }
}
