//! The store: blobs by scope and name, in memory and on disk.

use crate::{Blob, Digest, Limits, SpilledBlob, limits::size, spill::Spill};
use std::{
    collections::{BTreeMap, HashMap},
    mem,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// Artifacts smaller than this are spilled last. Results are usually smaller, and they are read soon after they arrive.
/// The records of shards are usually larger, and they wait for a worker.
const SMALL_BYTES: u64 = 2 << 20;

/// The owner of a group of artifacts. The caller numbers its scopes, and can remove all artifacts of a scope at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(pub u64);

/// Why the store does not accept an artifact, or cannot return it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The scope has an artifact of this name with different content. Artifacts are immutable.
    #[error("artifact {0} already exists with different content")]
    Exists(String),
    /// Neither memory nor disk has room. A retry fails as well until other artifacts are removed, so the operation that
    /// needs this artifact must be given up.
    #[error("there is no room for artifact {name} ({}): {reason}", size(*.bytes))]
    Full {
        /// Name of the artifact that was not stored.
        name: String,
        /// Its compressed size in bytes.
        bytes: u64,
        /// Which budget is used up, and what to do about it.
        reason: String,
    },
    /// The spill folder cannot be created.
    #[error("cannot create a folder for spilled artifacts in {}: {reason}\nhint: make it writable, or set `spill_folder` to another folder", path.display())]
    Folder {
        /// The folder in which it should be created.
        path: PathBuf,
        /// The error of the operating system.
        reason: String,
    },
    /// A spilled artifact cannot be read back.
    #[error("cannot read back the artifact that was spilled to {}: {reason}\nhint: check whether another program changes files there, and whether the disk has errors", path.display())]
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// What is wrong with the file.
        reason: String,
    },
}

/// Number and size of the artifacts in a store or in one of its scopes, in memory and on disk together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Number of artifacts.
    pub artifacts: usize,
    /// Their compressed size in bytes.
    pub bytes: u64,
}

/// Memory and disk space that a store uses. Blobs and files that the store has removed but a reader still holds are not
/// counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Compressed bytes in memory.
    pub memory_bytes: u64,
    /// Compressed bytes on disk.
    pub disk_bytes: u64,
    /// Number of artifacts, in memory and on disk.
    pub artifacts: usize,
}

impl Usage {
    fn bytes(self) -> u64 {
        self.memory_bytes.saturating_add(self.disk_bytes)
    }
}

/// Facts about an artifact that are known without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Digest of the uncompressed bytes.
    pub digest: Digest,
    /// Uncompressed length in bytes.
    pub len: u64,
}

/// An artifact in memory or on disk. It stays readable after the store removes or moves it. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Stored {
    /// In memory.
    Memory(Blob),
    /// In a file.
    Disk(SpilledBlob),
}

impl Stored {
    /// Returns the facts that are known without reading the artifact.
    #[must_use]
    pub fn describe(&self) -> Description {
        match self {
            Self::Memory(blob) => Description { digest: blob.digest(), len: blob.len() },
            Self::Disk(spilled) => Description { digest: spilled.digest(), len: spilled.len() },
        }
    }

    /// Returns the compressed size in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        match self {
            Self::Memory(blob) => blob.stored_bytes(),
            Self::Disk(spilled) => spilled.stored_bytes(),
        }
    }

    /// Returns the blob. Blocks if the blob is on disk: match on the variants where blocking is not allowed.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if the blob was spilled and its file cannot be read or differs from what was written.
    pub fn load(self) -> Result<Blob, StoreError> {
        match self {
            Self::Memory(blob) => Ok(blob),
            Self::Disk(spilled) => spilled.load(),
        }
    }
}

/// Blobs by scope and name: in memory up to a budget, in files beyond it. Threads can share a store.
///
/// [`Store::new`], [`Store::prepare`], [`Store::put`] and [`Stored::load`] access the disk and block. All other methods
/// only operate on maps and never wait for a disk access.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    state: Mutex<State>,
    /// Locked during a spill, so that only one thread at a time chooses and writes blobs. Locked before `state`, which
    /// is not locked while a blob is written.
    spill: Mutex<Spill>,
    /// Changed only while `state` is locked.
    pressed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    scopes: BTreeMap<Scope, Names>,
    /// Artifacts by number, in the order in which they were stored. An artifact keeps its number when it moves to
    /// another scope, also while it is being spilled.
    artifacts: BTreeMap<u64, Stored>,
    next: u64,
    usage: Usage,
    /// Why the last write to the disk failed; `None` if it succeeded, or if there has been room again since.
    refusal: Option<String>,
}

#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<String, u64>,
    bytes: u64,
}

/// Why the memory in use stays above its budget.
enum Refusal {
    /// The disk budget has no room for any blob that is in memory.
    Budget,
    /// Writing to the disk failed.
    Disk(String),
}

impl State {
    fn number(&self, scope: Scope, name: &str) -> Option<u64> {
        self.scopes.get(&scope)?.numbers.get(name).copied()
    }

    fn find(&self, scope: Scope, name: &str) -> Option<&Stored> {
        self.artifacts.get(&self.number(scope, name)?)
    }

    /// Stores `blob` and returns its number; `None` if the scope already has the same content under `name`.
    fn insert(&mut self, scope: Scope, name: &str, blob: Blob) -> Result<Option<u64>, StoreError> {
        if let Some(present) = self.find(scope, name) {
            let same = present.describe().digest == blob.digest();
            return if same { Ok(None) } else { Err(StoreError::Exists(name.to_owned())) };
        }
        let number = self.next;
        self.next += 1;
        self.usage.artifacts += 1;
        self.usage.memory_bytes += blob.stored_bytes();
        self.artifacts.insert(number, Stored::Memory(blob));
        self.name(scope, name, number);
        Ok(Some(number))
    }

    fn name(&mut self, scope: Scope, name: &str, number: u64) {
        let names = self.scopes.entry(scope).or_default();
        names.bytes += self.artifacts[&number].stored_bytes();
        names.numbers.insert(name.to_owned(), number);
    }

    /// Removes the name of an artifact and returns its number. The artifact itself stays.
    fn unname(&mut self, scope: Scope, name: &str) -> Option<u64> {
        let names = self.scopes.get_mut(&scope)?;
        let number = names.numbers.remove(name)?;
        names.bytes -= self.artifacts[&number].stored_bytes();
        if names.numbers.is_empty() {
            self.scopes.remove(&scope);
        }
        Some(number)
    }

    /// Removes and returns an artifact that no longer has a name.
    fn forget(&mut self, number: u64) -> Option<Stored> {
        let stored = self.artifacts.remove(&number)?;
        self.usage.artifacts -= 1;
        match &stored {
            Stored::Memory(blob) => self.usage.memory_bytes -= blob.stored_bytes(),
            Stored::Disk(spilled) => self.usage.disk_bytes -= spilled.stored_bytes(),
        }
        Some(stored)
    }

    fn remove(&mut self, scope: Scope, name: &str) -> Option<Stored> {
        let number = self.unname(scope, name)?;
        self.forget(number)
    }

    /// Returns the number and the content of the next blob to spill, of at most `most_bytes`.
    ///
    /// The newest blob is spilled first. Tasks wait in a queue, and each reads its inputs once, in the order of their
    /// arrival, so the newest input is needed last. The program, which all tasks read, is the oldest artifact. Small
    /// blobs are spilled later. Blobs that a reader holds are spilled last, because they would stay in memory anyway.
    fn victim(&self, most_bytes: u64) -> Option<(u64, Blob)> {
        let newest = |suits: &dyn Fn(&Blob) -> bool| {
            self.artifacts.iter().rev().find_map(|(number, stored)| match stored {
                Stored::Memory(blob) if (1..=most_bytes).contains(&blob.stored_bytes()) && suits(blob) => {
                    Some((*number, blob.clone()))
                }
                _ => None,
            })
        };
        newest(&|blob: &Blob| !blob.is_shared() && blob.stored_bytes() >= SMALL_BYTES)
            .or_else(|| newest(&|blob: &Blob| !blob.is_shared()))
            .or_else(|| newest(&|_: &Blob| true))
    }

    /// Replaces blob `number` by its spilled copy. Returns the value that is no longer needed, so that the caller drops
    /// it without holding the lock.
    fn settle(&mut self, number: u64, spilled: SpilledBlob) -> Stored {
        let Some(place) = self.artifacts.get_mut(&number) else { return Stored::Disk(spilled) };
        self.usage.memory_bytes -= place.stored_bytes();
        self.usage.disk_bytes += spilled.stored_bytes();
        mem::replace(place, Stored::Disk(spilled))
    }

    /// Returns whether the store is under pressure, given whether it was before. Pressure starts when more than three
    /// quarters of memory and disk space are used, which leaves room for artifacts that are already on their way. It
    /// ends when half is free again, so that it does not start and end with every artifact.
    fn is_pressed(&self, limits: &Limits, was: bool) -> bool {
        // A disk that rejects writes counts as full.
        let disk = if self.refusal.is_some() { self.usage.disk_bytes } else { limits.disk_bytes };
        let room = limits.memory_bytes.saturating_add(disk);
        self.usage.bytes() > if was { room / 2 } else { room / 4 * 3 }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::unbounded()
    }
}

impl Store {
    /// Returns an empty store with these limits. Removes the folders that dead processes left in its spill folder, and
    /// blocks while it does so. It creates its own folder only when the folder is first needed.
    #[must_use]
    pub fn new(mut limits: Limits) -> Self {
        if limits.spill_folder.is_none() {
            limits.disk_bytes = 0;
        }
        let spill = Mutex::new(Spill::new(limits.spill_folder.clone()));
        Self { limits, state: Mutex::default(), spill, pressed: watch::Sender::new(false) }
    }

    /// Returns an empty store with unlimited memory. It never uses the disk.
    #[must_use]
    pub fn unbounded() -> Self {
        Self::new(Limits::unbounded())
    }

    /// Returns the limits of the store.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Creates the spill folder now if one is configured, for callers that want to fail at the start if it cannot be
    /// created. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Folder`] if the folder cannot be created.
    pub fn prepare(&self) -> Result<(), StoreError> {
        let Some(path) = &self.limits.spill_folder else { return Ok(()) };
        let made = self.spill.lock().unwrap_or_else(PoisonError::into_inner).folder();
        match made {
            Ok(_) => Ok(()),
            Err(error) => Err(StoreError::Folder { path: path.clone(), reason: error.to_string() }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No operation leaves the maps half changed, so they are valid even after a panic in another thread.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the maps and updates the pressure. `change` returns everything that it takes out of the maps, so that
    /// blobs are freed and files are deleted without holding the lock.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let outcome = change(&mut state);
        let before = *self.pressed.borrow();
        let after = state.is_pressed(&self.limits, before);
        if before != after {
            if !after {
                // There is room again. The next spill tries the disk again.
                state.refusal = None;
            }
            self.pressed.send_replace(after);
        }
        outcome
    }

    /// Stores `blob` as `name` in `scope`. Storing the same content again has no effect.
    ///
    /// Blocks while memory is over its budget and blobs are written to disk, so do not call it on an asynchronous
    /// thread. Readers see the artifact at once. Memory exceeds its budget by the blobs that are being stored at the
    /// moment.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the name has different content, and [`StoreError::Full`] if there is no room. In both
    /// cases the blob is not stored. The disk can reject writes before its budget is used up, without any warning. In
    /// that case memory may exceed its budget by half before the store is full.
    pub fn put(&self, scope: Scope, name: impl Into<String>, blob: Blob) -> Result<(), StoreError> {
        let name = name.into();
        let bytes = blob.stored_bytes();
        let inserted = self.change(|state| -> Result<_, StoreError> {
            let number = state.insert(scope, &name, blob)?;
            Ok(number.map(|number| (number, state.usage.memory_bytes > self.limits.memory_bytes)))
        })?;
        let Some((number, true)) = inserted else { return Ok(()) };
        let Err(refusal) = self.relieve() else { return Ok(()) };
        let most_bytes = match refusal {
            Refusal::Budget => self.limits.memory_bytes,
            Refusal::Disk(_) => self.most_memory(),
        };
        let (usage, taken_back) = self.change(|state| {
            let usage = state.usage;
            // Meanwhile another thread may have made room, spilled this artifact, or moved it to another scope.
            let ours = state.number(scope, &name) == Some(number)
                && matches!(state.artifacts.get(&number), Some(Stored::Memory(_)));
            let taken_back = if ours && usage.memory_bytes > most_bytes { state.remove(scope, &name) } else { None };
            (usage, taken_back)
        });
        match taken_back {
            Some(_) => Err(StoreError::Full { name, bytes, reason: self.describe_refusal(&refusal, usage) }),
            None => Ok(()),
        }
    }

    /// Returns the maximum number of bytes in memory while the disk rejects writes.
    fn most_memory(&self) -> u64 {
        self.limits.memory_bytes.saturating_add(self.limits.memory_bytes / 2)
    }

    fn describe_refusal(&self, refusal: &Refusal, usage: Usage) -> String {
        let memory = size(self.limits.memory_bytes);
        let Some(folder) = self.limits.spill_folder.as_ref().map(|folder| folder.display()) else {
            return format!(
                "the {memory} of memory for artifacts are used up, and there is no spill folder\n\
                 hint: set `spill_folder`, or raise `store_memory_mb`"
            );
        };
        match refusal {
            Refusal::Budget => format!(
                "the {memory} of memory and the {} in {folder} for artifacts are used up\n\
                 hint: raise `store_memory_mb` or `store_disk_mb`, or add workers",
                size(self.limits.disk_bytes)
            ),
            Refusal::Disk(reason) => format!(
                "cannot write to the spill folder {folder} ({reason}), and {} of memory are used where {memory} are \
                 allowed\nhint: free disk space there, or set `spill_folder` to another folder",
                size(usage.memory_bytes)
            ),
        }
    }

    /// Spills blobs until memory is within its budget. If another thread spills, waits for it first.
    fn relieve(&self) -> Result<(), Refusal> {
        let mut spill = self.spill.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (number, blob) = {
                let state = self.lock();
                if state.usage.memory_bytes <= self.limits.memory_bytes {
                    return Ok(());
                }
                let left = self.limits.disk_bytes.saturating_sub(state.usage.disk_bytes);
                let Some(victim) = state.victim(left) else { return Err(Refusal::Budget) };
                victim
            };
            match spill.write(&blob) {
                Ok(spilled) => {
                    let _replaced = self.change(|state| {
                        state.refusal = None;
                        state.settle(number, spilled)
                    });
                }
                Err(error) => {
                    let reason = error.to_string();
                    self.change(|state| state.refusal = Some(reason.clone()));
                    return Err(Refusal::Disk(reason));
                }
            }
        }
    }

    /// Returns the artifact `name` of `scope`, in memory or on disk. Does not read the disk.
    #[must_use]
    pub fn get(&self, scope: Scope, name: &str) -> Option<Stored> {
        self.lock().find(scope, name).cloned()
    }

    /// Returns the digest and the length of artifact `name` of `scope`.
    #[must_use]
    pub fn describe(&self, scope: Scope, name: &str) -> Option<Description> {
        self.lock().find(scope, name).map(Stored::describe)
    }

    /// Removes the artifact `name` of `scope`. Returns true if it existed.
    pub fn remove(&self, scope: Scope, name: &str) -> bool {
        let removed = self.change(|state| state.remove(scope, name));
        removed.is_some()
    }

    /// Removes all artifacts of `scope`.
    pub fn remove_scope(&self, scope: Scope) {
        let _removed: Vec<Stored> = self.change(|state| {
            let names = state.scopes.remove(&scope).unwrap_or_default();
            names.numbers.into_values().filter_map(|number| state.forget(number)).collect()
        });
    }

    /// Returns the names of all artifacts of `scope`, in any order.
    #[must_use]
    pub fn names(&self, scope: Scope) -> Vec<String> {
        self.lock().scopes.get(&scope).map(|names| names.numbers.keys().cloned().collect()).unwrap_or_default()
    }

    /// Returns the number and the size of the artifacts of `scope`.
    #[must_use]
    pub fn scope_stats(&self, scope: Scope) -> Stats {
        let state = self.lock();
        let found = state.scopes.get(&scope);
        found.map(|names| Stats { artifacts: names.numbers.len(), bytes: names.bytes }).unwrap_or_default()
    }

    /// Moves the artifact `name` from scope `from` to scope `to`, without moving its bytes. An artifact of that name in
    /// `to` is not replaced; the one in `from` is removed in any case. Returns true if the artifact existed and `to`
    /// now has its content under that name.
    pub fn promote(&self, from: Scope, to: Scope, name: &str) -> bool {
        let (promoted, _dropped) = self.change(|state| {
            let Some(number) = state.unname(from, name) else { return (false, None) };
            let Some(present) = state.find(to, name) else {
                state.name(to, name, number);
                return (true, None);
            };
            let same = present.describe().digest == state.artifacts[&number].describe().digest;
            (same, state.forget(number))
        });
        promoted
    }

    /// Returns the number and the size of all artifacts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let usage = self.usage();
        Stats { artifacts: usage.artifacts, bytes: usage.bytes() }
    }

    /// Returns how much memory and disk space the store uses.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.lock().usage
    }

    /// Returns why the last write to the disk failed. `None` if it succeeded, or if there has been room again since.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.lock().refusal.clone()
    }

    /// Returns true while the store is under pressure: from the moment when more than three quarters of memory and disk
    /// space are used, until half is free again. Callers should not store artifacts that can wait during that time.
    #[must_use]
    pub fn is_under_pressure(&self) -> bool {
        *self.pressed.borrow()
    }

    /// Resolves when the store is not under pressure, which is usually at once.
    ///
    /// The caller must be sure that something else removes artifacts. If room can only become free after the caller
    /// continues, the caller waits forever.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn wait_for_room(&self) {
        let mut pressed = self.pressed.subscribe();
        // This fails only if the sender is dropped, and `self` holds the sender.
        let _ = pressed.wait_for(|pressed| !*pressed).await;
    }
}
