//! The entry of this process in the reservation file.

use super::{
    entry::WorkerEntry,
    plan::MemoryPlan,
    process_memory::ProcessIdentity,
    reservation_file::{LOCK_RETRY_INTERVAL, ReservationFile},
    worker_provers::WorkerProvers,
};
use crate::engine::{Footprint, ProvingEngine};
use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long the end of a reservation may block its thread to lock the file.
const RELEASE_LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// How long a background thread tries to lock the file to write a release of memory.
const BACKGROUND_LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// The consequence if a release of memory cannot be written.
const UNWRITTEN_RELEASE: &str = "released memory may look reserved to other workers on this machine";

/// The entry of this process in the file, and the state behind it. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct OwnEntry {
    file: ReservationFile,
    /// The processes that prove for this worker, and the memory that they use at rest.
    provers: Arc<WorkerProvers>,
    state: Arc<Mutex<OwnEntryState>>,
}

/// The state behind this process's entry in the file. The entry is always written as a whole.
#[derive(Debug, Default)]
pub(super) struct OwnEntryState {
    pub(super) reserved_bytes: u64,
    /// Waiting attempts: the time in milliseconds at which each started to wait, and its number.
    pub(super) waiting: BTreeSet<(u64, u64)>,
    /// The number of the attempt that was the last to start to wait.
    pub(super) last_waiting: u64,
    /// A background thread is writing a change that could not be written at once.
    pub(super) is_written_in_background: bool,
    /// The background thread must write again, because of another change.
    pub(super) must_write_again: bool,
}

impl OwnEntry {
    pub(super) fn new(file: ReservationFile, plan: MemoryPlan) -> Self {
        Self { file, provers: Arc::new(WorkerProvers::new(plan)), state: Arc::default() }
    }

    /// Sets the engine. Call this when the provers are loaded and idle.
    pub(super) fn set_engine(&self, engine: &Arc<dyn ProvingEngine>) {
        self.provers.set_engine(engine);
    }

    /// Returns the processes that prove for this worker.
    pub(super) fn prover_processes(&self) -> Vec<u32> {
        self.provers.footprint().processes
    }

    pub(super) fn state(&self) -> MutexGuard<'_, OwnEntryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns this process's entry for the file.
    pub(super) fn entry(&self, state: &OwnEntryState) -> WorkerEntry {
        let Footprint { processes: provers, rest_bytes } = self.provers.footprint();
        WorkerEntry {
            provers,
            parallel_attempts: self.provers.parallel_attempts(),
            rest_bytes,
            reserved_bytes: state.reserved_bytes,
            waiting_since_ms: state.waiting.first().map_or(0, |(since, _)| *since),
            updated_ms: clock_ms(),
        }
    }

    /// Writes this process's entry after memory was released: at once, or in the background as soon as the file is
    /// free. Other workers wait for the release, and this process may have no other reason to write.
    pub(super) fn write(&self) {
        if self.is_written_within(RELEASE_LOCK_TIMEOUT) {
            return;
        }
        let mut state = self.state();
        if std::mem::replace(&mut state.is_written_in_background, true) {
            state.must_write_again = true;
            return;
        }
        drop(state);
        let own = self.clone();
        let builder = thread::Builder::new().name("reservations".to_owned());
        if let Err(error) = builder.spawn(move || own.write_in_background()) {
            self.state().is_written_in_background = false;
            tracing::warn!(%error, "{UNWRITTEN_RELEASE}");
        }
    }

    /// Writes the entry until there is no further change, or gives up because the file stays locked.
    fn write_in_background(&self) {
        loop {
            let written = self.is_written_within(BACKGROUND_LOCK_TIMEOUT);
            let mut state = self.state();
            let again = std::mem::take(&mut state.must_write_again);
            if written && again {
                continue;
            }
            state.is_written_in_background = false;
            if !written {
                tracing::warn!(path = %self.file.path().display(), "another process keeps the memory reservations locked: {UNWRITTEN_RELEASE}");
            }
            return;
        }
    }

    /// Writes the entry. Returns false if another process kept the file locked for `longest`.
    fn is_written_within(&self, longest: Duration) -> bool {
        let Some(process) = ProcessIdentity::own() else { return true };
        let started = Instant::now();
        loop {
            match self.file.change(|entries| entries.insert(process, self.entry(&self.state()))) {
                Ok(_) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if started.elapsed() >= longest {
                        return false;
                    }
                    thread::sleep(LOCK_RETRY_INTERVAL);
                }
                Err(error) => {
                    tracing::warn!(path = %self.file.path().display(), %error, "cannot use the memory reservations");
                    return true;
                }
            }
        }
    }
}

/// Returns the machine's clock in milliseconds since 1970. A step of the clock changes the order of waiting attempts,
/// and lets waiting processes count as frozen until they update their entries.
pub(super) fn clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
