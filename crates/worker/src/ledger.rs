//! Memory reservations of the attempts of all worker processes on a host.
//!
//! A proving stage takes gigabytes within seconds, and then frees them. Checking the free memory before a stage starts
//! is not enough, because another worker may check the same memory at the same moment. So every worker writes its
//! reservations to a file that all workers on the host share. An attempt starts when all reservations fit into the
//! memory.
//!
//! The file is not trusted: no number in it can cause an overflow or a panic. If the file cannot be used, attempts
//! start without reservations.

use crate::{
    correction::{Corrections, scaled},
    engine::{Footprint, MemoryUse, ProvingEngine},
    introduction::MemoryPlan,
};
use machine::{Memory, lazily_freed_bytes, resident_bytes};
use protocol::wire::AttemptMemory;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, fchmod, flock, open},
    io::Errno,
};
use scheduler::TaskKind;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How often an attempt that does not fit checks again.
const PAUSE: Duration = Duration::from_millis(250);

/// Pause between two tries to lock the file. Workers hold the lock only for a moment.
const LOCK_PAUSE: Duration = Duration::from_millis(2);
/// How long an attempt tries to lock the file before it starts without a reservation.
const LONGEST_LOCK: Duration = Duration::from_secs(5);
/// How long the end of a reservation may block its thread to lock the file.
const LONGEST_LOCK_AT_THE_END: Duration = Duration::from_millis(100);

/// How long a background thread tries to lock the file to write a release of memory.
const LONGEST_LOCK_BEHIND: Duration = Duration::from_secs(60);

/// The consequence if a release of memory cannot be written.
const TAKEN: &str = "released memory may look reserved to other workers on this machine";

/// Memory of other programs, in bytes, that is never reported: on every machine, other programs use some.
const MUCH: u64 = 4_000_000_000;

/// A process that has not updated its entry for this long is frozen. The other workers no longer wait for its turn.
const FROZEN_MS: u64 = 5_000;

/// The memory reservations of a host, in a file that its workers share.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    path: Arc<Path>,
    /// The processes that prove for this worker, and the memory that they use at rest.
    provers: Arc<Provers>,
    own: Arc<Mutex<Own>>,
    corrections: Arc<Mutex<Corrections>>,
    /// True once this worker has warned about the memory of other programs.
    told_of_others: Arc<AtomicBool>,
}

/// The state behind this process's entry in the file. The entry is always written as a whole.
#[derive(Debug, Default)]
struct Own {
    reserved_bytes: u64,
    /// Waiting attempts: the time in milliseconds at which each started to wait, and its number.
    waiting: BTreeSet<(u64, u64)>,
    waited: u64,
    /// A background thread is writing a change that could not be written at once.
    written_behind: bool,
    /// The background thread must write again, because of another change.
    stale: bool,
}

/// The provers of this worker.
#[derive(Default)]
struct Provers {
    plan: MemoryPlan,
    /// The engine, and the resident bytes of this process when it was loaded and idle.
    loaded: OnceLock<(Arc<dyn ProvingEngine>, u64)>,
}

impl Provers {
    fn footprint(&self) -> Footprint {
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

impl fmt::Debug for Provers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.footprint().fmt(f)
    }
}

/// A process, identified by its id and start time, because the kernel reuses ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    id: u32,
    started: u64,
}

/// The entry of one worker process in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Entry {
    /// Ids of the processes that prove for this worker. If empty, the worker process itself proves.
    provers: Vec<u32>,
    /// Maximum number of attempts that the worker proves at the same time. 0 in an entry of an earlier version, which
    /// proved one attempt at a time.
    stages: u32,
    rest_bytes: u64,
    reserved_bytes: u64,
    /// When the longest-waiting attempt started to wait, in milliseconds of the host's clock; 0 if no attempt waits.
    waiting_since_ms: u64,
    /// When the process last updated this entry, in milliseconds of the host's clock.
    looked_ms: u64,
}

/// Maximum number of provers of one worker that are read from the file.
const MAX_PROVERS: usize = 64;

impl Entry {
    /// Returns the processes that prove for the worker process `own`, which has this entry.
    fn processes(&self, own: Process) -> impl Iterator<Item = u32> {
        let alone = self.provers.is_empty().then_some(own.id);
        self.provers.iter().copied().chain(alone)
    }
}

type Entries = BTreeMap<Process, Entry>;

/// The memory use of a process.
#[derive(Debug, Clone, Copy)]
struct Use {
    /// Bytes that the process holds; `None` if the process is gone.
    held_bytes: Option<u64>,
    /// Bytes that the process has freed, and that the kernel can reclaim at any time.
    freed_bytes: u64,
}

/// Memory use by process id.
type Uses = BTreeMap<u32, Use>;

impl Use {
    fn of(process: u32) -> Self {
        let freed_bytes = lazily_freed_bytes(process);
        Self { held_bytes: resident_bytes(process).map(|resident| resident.saturating_sub(freed_bytes)), freed_bytes }
    }
}

/// Memory that is reserved for an attempt. Released when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    ledger: Ledger,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        {
            let mut own = self.ledger.own();
            own.reserved_bytes = own.reserved_bytes.saturating_sub(self.bytes);
        }
        self.ledger.write_own();
    }
}

/// An attempt that waits for memory. It leaves the queue when dropped.
struct Waiting<'a> {
    ledger: &'a Ledger,
    place: (u64, u64),
}

impl<'a> Waiting<'a> {
    fn begin(ledger: &'a Ledger) -> Self {
        let mut own = ledger.own();
        own.waited += 1;
        let place = (host_ms(), own.waited);
        own.waiting.insert(place);
        Self { ledger, place }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.ledger.own().waiting.remove(&self.place);
        self.ledger.write_own();
    }
}

impl Ledger {
    /// Opens the ledger of this host, for a worker whose provers will use the memory in `plan`. The other workers
    /// account for this memory at once.
    pub(crate) fn of_host(plan: MemoryPlan) -> Self {
        // The same folder as for the start lock, and for the same reason.
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { shared } else { Path::new("/tmp") };
        let ledger = Self::at(folder.join("sp1d-memory"), plan);
        if plan != MemoryPlan::default() {
            ledger.write_own();
        }
        ledger
    }

    fn at(path: PathBuf, plan: MemoryPlan) -> Self {
        let provers = Provers { plan, loaded: OnceLock::new() };
        Self {
            path: path.into(),
            provers: Arc::new(provers),
            own: Arc::default(),
            corrections: Arc::default(),
            told_of_others: Arc::default(),
        }
    }

    /// Sets the engine. Call this when the provers are loaded and idle.
    pub(crate) fn set_engine(&self, engine: &Arc<dyn ProvingEngine>) {
        let rest_here = Use::of(process::id()).held_bytes.unwrap_or(0);
        // Keep the first value: a worker has only one engine.
        let _ = self.provers.loaded.set((engine.clone(), rest_here));
    }

    fn corrections(&self) -> MutexGuard<'_, Corrections> {
        self.corrections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the memory use of an attempt. It corrects later estimates of the same task kind.
    pub(crate) fn observe(&self, kind: TaskKind, memory: MemoryUse) {
        self.corrections().observe(kind, memory);
    }

    /// Returns the largest estimate with which an attempt fits into the machine's memory, or `None` if that is unknown.
    pub(crate) fn attempt_memory(&self) -> Option<AttemptMemory> {
        let own = Process::own()?;
        let uses = self.uses();
        let memory = Memory::now()?;
        let mut entries = parse(&fs::read_to_string(&*self.path).unwrap_or_default());
        entries.retain(|process, _| started(process.id) == Some(process.started));
        entries.insert(own, self.entry(&self.own()));
        let foreign = foreign_bytes(&entries, memory, &uses);
        if foreign > MUCH.max(memory.total_bytes / 8) && !self.told_of_others.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                gigabytes = (foreign / 10_000_000) as f64 / 100.0,
                "other programs use much of this machine's memory; if they are workers in other containers, give each \
                 container a memory limit, or let the containers share /dev/shm and process ids"
            );
        }
        let AttemptMemory { each_bytes, alone_bytes } = shares(&entries, memory, &uses);
        let factor = self.corrections().factor_of_shards().recip();
        Some(AttemptMemory { each_bytes: scaled(each_bytes, factor), alone_bytes: scaled(alone_bytes, factor) })
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an attempt of `kind` with the estimate `bytes` fits into the host's memory, and reserves this
    /// memory. Attempts on the host get memory in the order in which they started to wait. If no memory is reserved,
    /// the next attempt always gets its memory, so an attempt that never fits runs alone.
    ///
    /// Returns `None` if the host's memory is unknown or the file cannot be used.
    ///
    /// # Cancel safety
    /// Nothing is reserved if the future is dropped.
    pub(crate) async fn reserve(&self, kind: TaskKind, bytes: u64) -> Option<Reservation> {
        let bytes = scaled(bytes, self.corrections().factor(kind));
        let waiting = Waiting::begin(self);
        let mut told = false;
        let mut locked_since = None;
        loop {
            let ledger = self.clone();
            // Measure on another thread and without the lock: it takes long for processes with many gigabytes.
            let uses = tokio::task::spawn_blocking(move || ledger.uses()).await.unwrap_or_default();
            let available_bytes = Memory::now()?.available_bytes;
            match self.change(|entries| self.enter(entries, bytes, waiting.place, available_bytes, &uses)) {
                Ok(true) => return Some(Reservation { ledger: self.clone(), bytes }),
                Ok(false) => locked_since = None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let since = *locked_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= LONGEST_LOCK {
                        tracing::warn!(path = %self.path.display(), "another process keeps the memory reservations locked: continuing without a reservation");
                        return None;
                    }
                    tokio::time::sleep(LOCK_PAUSE).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), %error, "cannot use the memory reservations: continuing without a reservation");
                    return None;
                }
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(megabytes = bytes >> 20, "waiting for memory that other attempts on this machine use");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns true if another worker on the host waits for memory.
    pub(crate) fn others_wait(&self) -> bool {
        let Some(own) = Process::own() else { return false };
        // Read without the lock: the caller checks again soon, so a half-written file does no harm.
        let entries = parse(&fs::read_to_string(&*self.path).unwrap_or_default());
        entries.iter().any(|(process, entry)| *process != own && waits(entry, host_ms()))
    }

    /// Measures the processes in the file, and the provers of this worker.
    fn uses(&self) -> Uses {
        let entries = parse(&fs::read_to_string(&*self.path).unwrap_or_default());
        let of_others = entries.iter().flat_map(|(process, entry)| entry.processes(*process));
        let own = self.provers.footprint().processes;
        of_others.chain(own).map(|id| (id, Use::of(id))).collect()
    }

    /// Reserves `bytes` if they fit and the attempt at `place` is next. Returns whether it did. Removes processes that
    /// are gone from `entries`.
    fn enter(&self, entries: &mut Entries, bytes: u64, place: (u64, u64), available_bytes: u64, uses: &Uses) -> bool {
        entries.retain(|process, _| started(process.id) == Some(process.started));
        let Some(process) = Process::own() else { return true };
        let mut own = self.own();
        entries.insert(process, self.entry(&own));
        let first_here = own.waiting.first() == Some(&place);
        // `Memory::now` does not count lazily freed memory as available, because the process may use it again. The
        // bytes measured here are still free, so add them.
        let freed = uses.values().fold(0, |sum: u64, used| sum.saturating_add(used.freed_bytes));
        let available_bytes = available_bytes.saturating_add(freed);
        let held = |process: u32| uses.get(&process)?.held_bytes;
        let fits = first_here
            && is_turn(entries, process, place.0, host_ms())
            && fits(entries, process, bytes, available_bytes, held);
        if fits {
            own.reserved_bytes = own.reserved_bytes.saturating_add(bytes);
            entries.insert(process, self.entry(&own));
        }
        fits
    }

    /// Returns this process's entry for the file.
    fn entry(&self, own: &Own) -> Entry {
        let Footprint { processes: provers, rest_bytes } = self.provers.footprint();
        Entry {
            provers,
            stages: self.provers.plan.stages,
            rest_bytes,
            reserved_bytes: own.reserved_bytes,
            waiting_since_ms: own.waiting.first().map_or(0, |(since, _)| *since),
            looked_ms: host_ms(),
        }
    }

    /// Writes this process's entry after memory was released: at once, or in the background as soon as the file is
    /// free. Other workers wait for the release, and this process may have no other reason to write.
    fn write_own(&self) {
        if self.is_written_within(LONGEST_LOCK_AT_THE_END) {
            return;
        }
        let mut own = self.own();
        if std::mem::replace(&mut own.written_behind, true) {
            own.stale = true;
            return;
        }
        drop(own);
        let ledger = self.clone();
        if let Err(error) = thread::Builder::new().name("ledger".to_owned()).spawn(move || ledger.write_behind()) {
            self.own().written_behind = false;
            tracing::warn!(%error, "{TAKEN}");
        }
    }

    /// Writes the entry until there is no further change, or gives up because the file stays locked.
    fn write_behind(&self) {
        loop {
            let written = self.is_written_within(LONGEST_LOCK_BEHIND);
            let mut own = self.own();
            let again = std::mem::take(&mut own.stale);
            if written && again {
                continue;
            }
            own.written_behind = false;
            if !written {
                tracing::warn!(path = %self.path.display(), "another process keeps the memory reservations locked: {TAKEN}");
            }
            return;
        }
    }

    /// Writes the entry. Returns false if another process kept the file locked for `longest`.
    fn is_written_within(&self, longest: Duration) -> bool {
        let Some(process) = Process::own() else { return true };
        let began = Instant::now();
        loop {
            match self.change(|entries| entries.insert(process, self.entry(&self.own()))) {
                Ok(_) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if began.elapsed() >= longest {
                        return false;
                    }
                    thread::sleep(LOCK_PAUSE);
                }
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), %error, "cannot use the memory reservations");
                    return true;
                }
            }
        }
    }

    /// Changes the entries while this process holds the lock.
    ///
    /// # Errors
    /// Fails with `WouldBlock` if another process holds the lock, and with another error if the file cannot be used.
    fn change<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> io::Result<T> {
        // NONBLOCK: if another user has put a pipe or a device at this path, opening it must not wait.
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let everyone = Mode::from_raw_mode(0o666);
        // Try without O_CREAT first: in a sticky folder, Linux refuses it on a file of another user
        // (fs.protected_regular).
        let file = match open(&*self.path, flags, everyone) {
            Err(Errno::NOENT) => {
                let made = open(&*self.path, flags | OFlags::CREATE, everyone)?;
                // Workers of other users must be able to write the file, whatever the umask of this worker is.
                fchmod(&made, everyone)?;
                made
            }
            other => other?,
        };
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut file = File::from(file);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut text = String::new();
        Read::by_ref(&mut file).take(1 << 20).read_to_string(&mut text)?;
        let mut entries = parse(&text);
        let outcome = change(&mut entries);
        let text: String = entries.iter().map(|(process, entry)| line(*process, entry)).collect();
        // Write before truncating, so that a full disk loses no line.
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
        Ok(outcome)
    }
}

impl Process {
    fn own() -> Option<Self> {
        let id = process::id();
        Some(Self { id, started: started(id)? })
    }
}

/// Returns the start time of a process in clock ticks since boot, or `None` if the process is gone. This is field 22 of
/// `/proc/PID/stat`, see proc(5).
fn started(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse().ok()
}

/// Returns the host's clock in milliseconds since 1970. A step of the clock only changes the order of waiting attempts.
fn host_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns true if no other process has been waiting since before `since_ms`.
fn is_turn(entries: &Entries, own: Process, since_ms: u64, now_ms: u64) -> bool {
    let mut others = entries.iter().filter(|(process, entry)| **process != own && waits(entry, now_ms));
    others.all(|(_, entry)| entry.waiting_since_ms >= since_ms)
}

/// Returns true if an attempt of the process waits and the process is not frozen.
fn waits(entry: &Entry, now_ms: u64) -> bool {
    entry.waiting_since_ms != 0 && now_ms.saturating_sub(entry.looked_ms) < FROZEN_MS
}

/// Formats an entry as a line of the file.
fn line(process: Process, entry: &Entry) -> String {
    let Process { id, started } = process;
    let Entry { provers, stages, rest_bytes, reserved_bytes, waiting_since_ms, looked_ms } = entry;
    let provers: Vec<String> = provers.iter().map(u32::to_string).collect();
    let provers = provers.join(",");
    format!("{id} {started} {rest_bytes} {reserved_bytes} {waiting_since_ms} {looked_ms} {provers} {stages}\n")
}

/// Parses the file. Invalid lines are ignored: a later version or another program may have written them.
fn parse(text: &str) -> Entries {
    let entry = |line: &str| {
        let mut fields = line.split(' ');
        let mut field = || fields.next()?.parse::<u64>().ok();
        let process = Process { id: u32::try_from(field()?).ok()?, started: field()? };
        let (rest_bytes, reserved_bytes, waiting_since_ms, looked_ms) = (field()?, field()?, field()?, field()?);
        let provers = fields.next().unwrap_or_default().split(',').take(MAX_PROVERS);
        let provers = provers.filter_map(|id| id.parse().ok()).collect();
        let stages = fields.next().and_then(|stages| stages.parse().ok()).unwrap_or(0);
        Some((process, Entry { provers, stages, rest_bytes, reserved_bytes, waiting_since_ms, looked_ms }))
    };
    text.lines().filter_map(entry).collect()
}

/// Returns true if `bytes` for a new attempt of `own` fit beside all reservations. Memory that a worker uses beyond its
/// memory at rest counts as part of its reservation. Memory that `own` keeps from earlier attempts serves the new
/// attempt.
fn fits(
    entries: &Entries,
    own: Process,
    bytes: u64,
    available_bytes: u64,
    resident: impl Fn(u32) -> Option<u64>,
) -> bool {
    let sum = |all: &mut dyn Iterator<Item = u64>| all.fold(0, u64::saturating_add);
    let reserved = sum(&mut entries.values().map(|entry| entry.reserved_bytes));
    let in_use = sum(&mut entries.iter().map(|(process, entry)| {
        let used = sum(&mut entry.processes(*process).filter_map(&resident));
        let beyond = used.saturating_sub(entry.rest_bytes);
        let asked = if *process == own { bytes } else { 0 };
        beyond.min(entry.reserved_bytes.saturating_add(asked))
    }));
    reserved == 0 || reserved.saturating_add(bytes) <= available_bytes.saturating_add(in_use)
}

/// Returns the bytes that are in use, but not by the workers in `entries`.
fn foreign_bytes(entries: &Entries, memory: Memory, uses: &Uses) -> u64 {
    let processes = entries.iter().flat_map(|(process, entry)| entry.processes(*process));
    let own = processes.filter_map(|process| uses.get(&process));
    let own =
        own.map(|used| used.held_bytes.unwrap_or(0).saturating_add(used.freed_bytes)).fold(0, u64::saturating_add);
    memory.total_bytes.saturating_sub(memory.available_bytes).saturating_sub(own)
}

/// Returns how much of `memory` attempts can have. The workers in `entries` share this memory, and their processes use
/// it as in `uses`.
fn shares(entries: &Entries, memory: Memory, uses: &Uses) -> AttemptMemory {
    /// 1/`MARGIN` of the memory stays free: for the system, for late measurements, and for estimates that are too low.
    const MARGIN: u64 = 32;
    let sum = |all: &mut dyn Iterator<Item = u64>| all.fold(0, u64::saturating_add);
    let used = |process: u32| uses.get(&process);
    let held = sum(&mut entries.iter().flat_map(|(process, entry)| {
        entry.processes(*process).filter_map(|process| used(process)?.held_bytes).collect::<Vec<_>>()
    }));
    // `memory.available_bytes` leaves out lazily freed memory. Add it here, as for a reservation.
    let freed = sum(&mut uses.values().map(|used| used.freed_bytes));
    let free_at_rest = memory.available_bytes.saturating_add(held).saturating_add(freed).min(memory.total_bytes);
    let rest = sum(&mut entries.values().map(|entry| entry.rest_bytes));
    let alone_bytes = free_at_rest.saturating_sub(rest).saturating_sub(memory.total_bytes / MARGIN);
    let stages = sum(&mut entries.values().map(|entry| u64::from(entry.stages.max(1))));
    AttemptMemory { each_bytes: alone_bytes / stages.max(1), alone_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;

    fn nobody() -> MemoryPlan {
        MemoryPlan::default()
    }

    fn other(id: u32) -> Process {
        Process { id, started: 0 }
    }

    fn entry(rest: u64, reserved: u64) -> Entry {
        Entry { rest_bytes: rest * GB, reserved_bytes: reserved * GB, ..Entry::default() }
    }

    /// Two workers use 7 GiB each at rest. The first has reserved `reserved` and uses `used` beyond its memory at rest.
    /// The second asks for `bytes`. All values are in GiB.
    fn check(reserved: u64, used: u64, available: u64, bytes: u64, expected: bool) {
        let entries = Entries::from([(other(1), entry(7, reserved)), (other(2), entry(7, 0))]);
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

    /// Checks this process's entry in the file: the reserved bytes, and whether an attempt waits.
    fn check_file(ledger: &Ledger, reserved_bytes: u64, waiting: bool) {
        let entries = parse(&fs::read_to_string(&*ledger.path).unwrap());
        let own = entries.get(&Process::own().unwrap()).unwrap();
        assert_eq!((own.reserved_bytes, own.waiting_since_ms != 0), (reserved_bytes, waiting));
        assert_eq!(entries.len(), 1);
    }

    #[tokio::test]
    async fn reservations_are_released_and_dead_processes_removed() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path().join("ledger"), nobody());
        // No process has the first id. The second is the id of this process, with another start time.
        let lies = |id: u32| line(other(id), &Entry { reserved_bytes: u64::MAX, ..Entry::default() });
        fs::write(&*ledger.path, lies(u32::MAX) + &lies(process::id()) + "nonsense\n").unwrap();
        let reservation = ledger.reserve(TaskKind::ProveShard, 1).await.unwrap();
        check_file(&ledger, 1, false);
        drop(reservation);
        check_file(&ledger, 0, false);
    }

    #[tokio::test]
    async fn a_release_while_the_file_is_locked_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path().join("ledger"), nobody());
        let reservation = ledger.reserve(TaskKind::ProveShard, 1).await.unwrap();
        let somebody = File::open(&*ledger.path).unwrap();
        flock(&somebody, FlockOperation::LockExclusive).unwrap();
        let second = Reservation { ledger: ledger.clone(), bytes: 0 };
        drop(reservation);
        drop(second);
        check_file(&ledger, 1, false);
        assert!(
            ledger.own().written_behind && ledger.own().stale,
            "the thread of the first release also writes the second"
        );
        drop(somebody);
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::read_to_string(&*ledger.path).unwrap().contains(" 1 0 ") && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        check_file(&ledger, 0, false);
        while ledger.own().written_behind && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!ledger.own().written_behind && !ledger.own().stale);
    }

    #[test]
    fn the_longest_waiting_process_is_next_unless_it_is_frozen() {
        let waiting = |since| Entry { waiting_since_ms: since, looked_ms: 1000, ..Entry::default() };
        let entries = Entries::from([(other(1), waiting(100)), (other(2), waiting(0)), (other(3), waiting(300))]);
        let is_turn = |id, since, now| is_turn(&entries, other(id), since, now);
        assert!(is_turn(1, 100, 1000));
        assert!(!is_turn(2, 200, 1000), "1 has waited longer");
        assert!(!is_turn(3, 300, 1000));
        assert!(is_turn(2, 50, 1000));
        assert!(is_turn(2, 200, 1000 + FROZEN_MS));
    }

    #[tokio::test]
    async fn a_cancelled_attempt_leaves_the_queue() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path().join("ledger"), nobody());
        let first = ledger.reserve(TaskKind::ProveShard, 1).await.unwrap();
        let mut never = Box::pin(ledger.reserve(TaskKind::ProveShard, u64::MAX / 2));
        let pending = tokio::time::timeout(Duration::from_millis(50), &mut never).await;
        assert!(pending.is_err(), "it does not fit beside the first");
        check_file(&ledger, 1, true);
        drop(never);
        check_file(&ledger, 1, false);
        drop(first);
    }

    #[test]
    fn memory_that_a_worker_keeps_serves_its_next_attempt() {
        let entries = Entries::from([(other(1), entry(7, 5)), (other(2), entry(7, 0))]);
        // Both workers keep 2 GiB from earlier attempts. The first has not started to use more.
        let resident = |_| Some(9 * GB);
        assert!(fits(&entries, other(2), 5 * GB, 6 * GB, resident));
        assert!(!fits(&entries, other(2), 5 * GB, 5 * GB, resident));
    }

    #[test]
    fn numbers_in_a_hostile_file_cause_no_overflow() {
        let entries =
            Entries::from([(other(1), entry(0, 0)), (other(2), Entry { reserved_bytes: u64::MAX, ..entry(0, 0) })]);
        assert!(!fits(&entries, other(1), u64::MAX, u64::MAX / 2, |_| Some(0)));
        assert!(fits(&entries, other(1), 1, u64::MAX, |_| Some(u64::MAX)));
    }

    /// One or two workers on a machine with 32 GiB, of which 22 GiB are free without these workers. Each worker uses 1
    /// GiB at rest. The first proves `stages` attempts at a time, the second `second` attempts, if there is a second
    /// worker. `alone` and `each` are the expected shares in GiB.
    fn check_shares(stages: u32, second: Option<u32>, alone: u64, each: u64) {
        let planned = |stages| Entry { stages, ..entry(1, 0) };
        let mut entries = Entries::from([(other(1), planned(stages))]);
        entries.extend(second.map(|stages| (other(2), planned(stages))));
        let memory = Memory { available_bytes: 22 * GB - entries.len() as u64 * GB, total_bytes: 32 * GB };
        let used = Use { held_bytes: Some(GB), freed_bytes: 0 };
        let uses: Uses = entries.keys().map(|process| (process.id, used)).collect();
        let shares = shares(&entries, memory, &uses);
        assert_eq!((shares.alone_bytes / GB, shares.each_bytes / GB), (alone, each));
    }

    #[test]
    fn memory_that_no_listed_worker_uses_is_foreign() {
        let check = |available: u64, held: u64, freed: u64, foreign: u64| {
            let memory = Memory { available_bytes: available * GB, total_bytes: 64 * GB };
            let used = Use { held_bytes: Some(held * GB), freed_bytes: freed * GB };
            let entries = Entries::from([(other(1), entry(1, 0))]);
            assert_eq!(foreign_bytes(&entries, memory, &Uses::from([(1, used), (2, used)])), foreign * GB);
        };
        check(60, 1, 0, 3);
        check(40, 20, 2, 2);
        // The values were read at different moments, so the workers seem to use more than the machine.
        check(60, 20, 2, 0);
    }

    #[test]
    fn workers_share_the_memory_that_idle_provers_leave() {
        check_shares(1, None, 20, 20);
        check_shares(2, None, 20, 10);
        check_shares(1, Some(1), 19, 9);
        check_shares(1, Some(3), 19, 4);
        check_shares(1, Some(0), 19, 9);
    }

    #[tokio::test]
    async fn an_unusable_file_gives_no_reservation() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Ledger::at(folder.path().to_owned(), nobody()).reserve(TaskKind::ProveShard, 1).await.is_none());
    }
}
