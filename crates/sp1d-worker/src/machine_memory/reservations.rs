//! Memory reservations of the attempts of all worker processes on a machine.
//!
//! A proving stage takes gigabytes within seconds, and then frees them. Checking the free memory before a stage starts
//! is not enough, because another worker may check the same memory at the same moment. So every worker writes its
//! reservations to a file that all workers on the machine share. An attempt starts when all reservations fit into the
//! memory.
//!
//! If the file cannot be used, attempts start without reservations.

use super::{
    correction::{Corrections, scaled},
    entry::{WorkerEntries, is_turn},
    own_entry::{OwnEntry, clock_ms},
    plan::MemoryPlan,
    process_memory::{MemoryByProcess, ProcessIdentity, ProcessMemory},
    reservation::{Reservation, WaitingAttempt},
    reservation_file::{LOCK_RETRY_INTERVAL, ReservationFile},
    shares::{fits, foreign_bytes, shares},
};
use crate::engine::{MemoryUse, ProvingEngine};
use sp1d_machine::Memory;
use sp1d_model::TaskKind;
use sp1d_protocol::wire::AttemptMemory;
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How often an attempt that does not fit checks again.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// How long an attempt tries to lock the file before it starts without a reservation.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Memory of other programs, in bytes, that is never reported: on every machine, other programs use some.
const MAX_UNREPORTED_FOREIGN_BYTES: u64 = 4_000_000_000;

/// The memory reservations of a machine, in a file that its workers share.
#[derive(Debug, Clone)]
pub(crate) struct MemoryReservations {
    file: ReservationFile,
    own: OwnEntry,
    /// See [`MemoryPlan::max_attempt_bytes`].
    max_attempt_bytes: Option<u64>,
    corrections: Arc<Mutex<Corrections>>,
    /// True once this worker has warned about the memory of other programs.
    has_warned_of_others: Arc<AtomicBool>,
}

impl MemoryReservations {
    /// Opens the reservations of this machine, for a worker whose provers will use the memory in `plan`. The other
    /// workers account for this memory at once.
    pub(crate) fn of_machine(plan: MemoryPlan) -> Self {
        let reservations = Self::new(ReservationFile::of_machine(), plan);
        if plan != MemoryPlan::default() {
            reservations.own.write();
        }
        reservations
    }

    fn new(file: ReservationFile, plan: MemoryPlan) -> Self {
        Self {
            own: OwnEntry::new(file.clone(), plan),
            file,
            max_attempt_bytes: plan.max_attempt_bytes,
            corrections: Arc::default(),
            has_warned_of_others: Arc::default(),
        }
    }

    /// Sets the engine. Call this when the provers are loaded and idle.
    pub(crate) fn set_engine(&self, engine: &Arc<dyn ProvingEngine>) {
        self.own.set_engine(engine);
    }

    fn corrections(&self) -> MutexGuard<'_, Corrections> {
        self.corrections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the memory use of an attempt. It corrects later estimates of the same task kind.
    pub(crate) fn observe(&self, kind: TaskKind, memory: MemoryUse) {
        self.corrections().observe(kind, memory);
    }

    /// Returns how much memory each attempt can use beside the others, and how much one can use alone. `None` if that
    /// is unknown.
    pub(crate) fn attempt_memory(&self) -> Option<AttemptMemory> {
        let own = ProcessIdentity::own()?;
        let used = self.memory_by_process();
        let memory = Memory::now()?;
        let mut entries = self.file.read();
        entries.retain(|process, _| process.is_running());
        entries.insert(own, self.own.entry(&self.own.state()));
        let foreign = foreign_bytes(&entries, memory, &used);
        let is_much = foreign > MAX_UNREPORTED_FOREIGN_BYTES.max(memory.total_bytes / 8);
        if is_much && !self.has_warned_of_others.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                gigabytes = (foreign / 10_000_000) as f64 / 100.0,
                "other programs use much of this machine's memory; if they are workers in other containers, give each \
                 container a memory limit, or let the containers share /dev/shm and process ids"
            );
        }
        let AttemptMemory { each_bytes, alone_bytes } = shares(&entries, memory, &used);
        let factor = self.corrections().factor_of_shards().recip();
        Some(AttemptMemory { each_bytes: scaled(each_bytes, factor), alone_bytes: scaled(alone_bytes, factor) })
    }

    /// Returns the memory that an attempt of `kind` with the estimate `bytes` takes of this machine.
    fn own_estimate(&self, kind: TaskKind, bytes: u64) -> u64 {
        match (self.max_attempt_bytes, kind) {
            // These run on the processor, whatever the other tasks run on.
            (None, _) | (_, TaskKind::Groth16Wrap | TaskKind::PlonkWrap) => {
                scaled(bytes, self.corrections().factor(kind))
            }
            // Measured use says nothing about an estimate that is for another device.
            (Some(most), _) => bytes.min(most),
        }
    }

    /// Waits until an attempt of `kind` with the estimate `bytes` fits into the machine's memory, and reserves this
    /// memory. Attempts on the machine get memory in the order in which they started to wait. If no memory is reserved,
    /// the next attempt always gets its memory, so an attempt that never fits runs alone.
    ///
    /// Returns `None` if the machine's memory is unknown or the file cannot be used.
    ///
    /// # Cancel safety
    /// Nothing is reserved if the future is dropped.
    pub(crate) async fn reserve(&self, kind: TaskKind, bytes: u64) -> Option<Reservation> {
        let bytes = self.own_estimate(kind, bytes);
        let waiting = WaitingAttempt::start(&self.own);
        let mut logged = false;
        let mut locked_since = None;
        loop {
            let reservations = self.clone();
            // Measure on another thread and without the lock: it takes long for processes with many gigabytes.
            let used = tokio::task::spawn_blocking(move || reservations.memory_by_process()).await.unwrap_or_default();
            let available_bytes = Memory::now()?.available_bytes;
            match self.file.change(|entries| self.enter(entries, bytes, waiting.position(), available_bytes, &used)) {
                Ok(true) => return Some(Reservation::new(self.own.clone(), bytes)),
                Ok(false) => locked_since = None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let since = *locked_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= LOCK_TIMEOUT {
                        tracing::warn!(path = %self.file.path().display(), "another process keeps the memory reservations locked: continuing without a reservation");
                        return None;
                    }
                    tokio::time::sleep(LOCK_RETRY_INTERVAL).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(path = %self.file.path().display(), %error, "cannot use the memory reservations: continuing without a reservation");
                    return None;
                }
            }
            if !std::mem::replace(&mut logged, true) {
                tracing::info!(megabytes = bytes >> 20, "waiting for memory that other attempts on this machine use");
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Returns true if another worker on the machine waits for memory.
    pub(crate) fn others_wait(&self) -> bool {
        let Some(own) = ProcessIdentity::own() else { return false };
        // Read without the lock: the caller checks again soon, so a half-written file does no harm.
        self.file.read().iter().any(|(process, entry)| *process != own && entry.is_waiting(clock_ms()))
    }

    /// Measures the processes in the file, and the provers of this worker.
    fn memory_by_process(&self) -> MemoryByProcess {
        let entries = self.file.read();
        let of_others = entries.iter().flat_map(|(process, entry)| entry.processes(*process));
        let own = self.own.prover_processes();
        of_others.chain(own).map(|id| (id, ProcessMemory::of(id))).collect()
    }

    /// Reserves `bytes` if they fit and the attempt at `position` is next. Returns whether it did. Removes processes
    /// that are gone from `entries`.
    fn enter(
        &self,
        entries: &mut WorkerEntries,
        bytes: u64,
        position: (u64, u64),
        available_bytes: u64,
        used: &MemoryByProcess,
    ) -> bool {
        entries.retain(|process, _| process.is_running());
        let Some(process) = ProcessIdentity::own() else { return true };
        let mut own = self.own.state();
        entries.insert(process, self.own.entry(&own));
        let first_here = own.waiting.first() == Some(&position);
        // `Memory::now` does not count lazily freed memory as available, because the process may use it again. The
        // bytes measured here are still free, so add them.
        let freed = used.values().fold(0, |sum: u64, used| sum.saturating_add(used.freed_bytes));
        let available_bytes = available_bytes.saturating_add(freed);
        let held = |process: u32| used.get(&process)?.held_bytes;
        let fits = first_here
            && is_turn(entries, process, position.0, clock_ms())
            && fits(entries, process, bytes, available_bytes, held);
        if fits {
            own.reserved_bytes = own.reserved_bytes.saturating_add(bytes);
            entries.insert(process, self.own.entry(&own));
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine_memory::entry::{WorkerEntry, entry_line, parse_entries};
    use rustix::fs::{FlockOperation, flock};
    use std::{
        fs::{self, File},
        path::{Path, PathBuf},
        process, thread,
    };

    fn at(path: &Path) -> MemoryReservations {
        MemoryReservations::new(ReservationFile::at(path.to_owned()), MemoryPlan::default())
    }

    /// Returns this process's entry in the file: the reserved bytes, and whether an attempt waits.
    fn own_entry(path: &Path) -> (u64, bool) {
        let entries = parse_entries(&fs::read_to_string(path).unwrap());
        assert_eq!(entries.len(), 1);
        let own = entries.get(&ProcessIdentity::own().unwrap()).unwrap();
        (own.reserved_bytes, own.waiting_since_ms != 0)
    }

    fn check_file(path: &Path, reserved_bytes: u64, waiting: bool) {
        assert_eq!(own_entry(path), (reserved_bytes, waiting));
    }

    #[tokio::test]
    async fn reservations_are_released_and_dead_processes_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reservations");
        let reservations = at(&path);
        // No process has the first id. The second is the id of this process, with another start time.
        let false_line = |id: u32| {
            let entry = WorkerEntry { reserved_bytes: u64::MAX, ..WorkerEntry::default() };
            entry_line(ProcessIdentity { id, started: 0 }, &entry)
        };
        fs::write(&path, false_line(u32::MAX) + &false_line(process::id()) + "nonsense\n").unwrap();
        let reservation = reservations.reserve(TaskKind::ProveShard, 1).await.unwrap();
        check_file(&path, 1, false);
        drop(reservation);
        check_file(&path, 0, false);
    }

    #[tokio::test]
    async fn a_release_while_the_file_is_locked_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reservations");
        let reservations = at(&path);
        let reservation = reservations.reserve(TaskKind::ProveShard, 1).await.unwrap();
        let lock_holder = File::open(&path).unwrap();
        flock(&lock_holder, FlockOperation::LockExclusive).unwrap();
        let second = Reservation::new(reservations.own.clone(), 0);
        drop(reservation);
        drop(second);
        check_file(&path, 1, false);
        let is_writing = || {
            let state = reservations.own.state();
            (state.is_written_in_background, state.must_write_again)
        };
        assert_eq!(is_writing(), (true, true), "the thread of the first release also writes the second");
        drop(lock_holder);
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::read_to_string(&path).unwrap().contains(" 1 0 ") && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        check_file(&path, 0, false);
        while is_writing().0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(is_writing(), (false, false));
    }

    #[tokio::test]
    async fn a_cancelled_attempt_leaves_the_queue() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reservations");
        let reservations = at(&path);
        let first = reservations.reserve(TaskKind::ProveShard, 1).await.unwrap();
        let mut never = Box::pin(reservations.reserve(TaskKind::ProveShard, u64::MAX / 2));
        let waits = async {
            while own_entry(&path) != (1, true) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), async {
            tokio::select! {
                biased;
                _ = &mut never => panic!("it does not fit beside the first"),
                () = waits => {}
            }
        });
        waited.await.expect("the attempt waits for memory");
        drop(never);
        check_file(&path, 1, false);
        drop(first);
    }

    #[test]
    fn an_attempt_on_a_gpu_takes_little_memory_of_the_machine() {
        let plan = MemoryPlan { max_attempt_bytes: Some(6), ..MemoryPlan::default() };
        let reservations = MemoryReservations::new(ReservationFile::at(PathBuf::from("/nonexistent")), plan);
        assert_eq!(reservations.own_estimate(TaskKind::ProveShard, 27), 6);
        assert_eq!(reservations.own_estimate(TaskKind::ProveShard, 5), 5);
        assert_eq!(reservations.own_estimate(TaskKind::Groth16Wrap, 14), 14, "it runs on the processor");
    }

    #[tokio::test]
    async fn an_unusable_file_gives_no_reservation() {
        let folder = tempfile::tempdir().unwrap();
        assert!(at(folder.path()).reserve(TaskKind::ProveShard, 1).await.is_none());
    }
}
