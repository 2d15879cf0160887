//! The store: one lock around its maps, and the spill that keeps memory within its budget.

use super::{
    ArtifactDescription, ArtifactStats, Scope, ScopeDescription, StoreError, StoreLimits, StoreUsage, Stored,
    contents::StoreContents, limits::size, spill::Spill,
};
use crate::Blob;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Blobs by scope and name: in memory up to a budget, in files beyond it. Threads can share a store.
///
/// [`Store::new`], [`Store::check_spill_folder`], [`Store::put`] and [`Stored::load`] access the disk and block. All
/// other methods only operate on maps and never wait for a disk access.
#[derive(Debug)]
pub struct Store {
    limits: StoreLimits,
    state: Mutex<StoreContents>,
    /// Locked during a spill, so that only one thread at a time chooses and writes blobs. Locked before `state`, which
    /// is not locked while a blob is written.
    spill: Mutex<Spill>,
    /// Changed only while `state` is locked.
    pressed: watch::Sender<bool>,
}

/// Why the memory in use stays above its budget.
enum SpillFailure {
    /// The disk budget has no room for any blob that is in memory.
    Budget,
    /// Writing to the disk failed.
    Disk(String),
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
    pub fn new(mut limits: StoreLimits) -> Self {
        if limits.spill_folder.is_none() {
            limits.disk_bytes = 0;
        }
        let spill = Mutex::new(Spill::new(limits.spill_folder.clone()));
        Self { limits, state: Mutex::default(), spill, pressed: watch::Sender::new(false) }
    }

    /// Returns an empty store with unlimited memory. It never uses the disk.
    #[must_use]
    pub fn unbounded() -> Self {
        Self::new(StoreLimits::unbounded())
    }

    /// Returns the limits of the store.
    #[must_use]
    pub fn limits(&self) -> &StoreLimits {
        &self.limits
    }

    /// Checks that the store can create its folder, if it may spill. So a wrong folder is found at the start, and not
    /// in the middle of a large proof. Leaves no folder behind. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Folder`] if the folder cannot be created.
    pub fn check_spill_folder(&self) -> Result<(), StoreError> {
        let Some(path) = self.limits.spill_folder.as_ref().filter(|_| self.limits.disk_bytes > 0) else {
            return Ok(());
        };
        self.spill
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .check()
            .map_err(|error| StoreError::Folder { path: path.clone(), reason: error.to_string() })
    }

    fn lock(&self) -> MutexGuard<'_, StoreContents> {
        // No operation leaves the maps half changed, so they are valid even after a panic in another thread.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the maps and updates the pressure. `change` returns everything that it takes out of the maps, so that
    /// blobs are freed and files are deleted without holding the lock.
    fn change<T>(&self, change: impl FnOnce(&mut StoreContents) -> T) -> T {
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
        let max_bytes = match refusal {
            SpillFailure::Budget => self.limits.memory_bytes,
            SpillFailure::Disk(_) => self.max_memory(),
        };
        let (usage, taken_back) = self.change(|state| {
            let usage = state.usage;
            // Meanwhile another thread may have made room, spilled this artifact, or moved it to another scope.
            let ours = state.number(scope, &name) == Some(number)
                && matches!(state.artifacts.get(&number), Some(Stored::Memory(_)));
            let taken_back = if ours && usage.memory_bytes > max_bytes { state.remove(scope, &name) } else { None };
            (usage, taken_back)
        });
        match taken_back {
            Some(_) => Err(StoreError::Full { name, bytes, reason: self.describe_refusal(&refusal, usage) }),
            None => Ok(()),
        }
    }

    /// Does the same as [`Store::put`] if memory has room for the blob, and never blocks. Returns the blob if it has no
    /// room: it is then not stored, and [`Store::put`] may spill it or others.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the name has different content.
    pub fn put_in_memory(&self, scope: Scope, name: &str, blob: Blob) -> Result<Option<Blob>, StoreError> {
        self.change(|state| {
            // The same content again needs no room.
            let is_new = state.find(scope, name).is_none();
            let needed = state.usage.memory_bytes.saturating_add(blob.stored_bytes());
            if is_new && needed > self.limits.memory_bytes {
                return Ok(Some(blob));
            }
            state.insert(scope, name, blob)?;
            Ok(None)
        })
    }

    /// Returns the maximum number of bytes in memory while the disk rejects writes.
    fn max_memory(&self) -> u64 {
        self.limits.memory_bytes.saturating_add(self.limits.memory_bytes / 2)
    }

    fn describe_refusal(&self, refusal: &SpillFailure, usage: StoreUsage) -> String {
        let memory = size(self.limits.memory_bytes);
        let Some(folder) = self.limits.spill_folder.as_ref().map(|folder| folder.display()) else {
            return format!(
                "the {memory} of memory for artifacts are used up, and there is no spill folder\n\
                 hint: name a folder in the setting `spill_folder`, or raise the setting `store_memory_mb`"
            );
        };
        match refusal {
            SpillFailure::Budget => format!(
                "the {memory} of memory and the {} in {folder} for artifacts are used up\n\
                 hint: raise the setting `store_memory_mb` or `store_disk_mb`, or add workers",
                size(self.limits.disk_bytes)
            ),
            SpillFailure::Disk(reason) => format!(
                "cannot write to the spill folder {folder} ({reason}), and {} of memory are used where {memory} are \
                 allowed\nhint: free disk space there, or name another folder in the setting `spill_folder`",
                size(usage.memory_bytes)
            ),
        }
    }

    /// Spills blobs until memory is within its budget. If another thread spills, waits for it first.
    fn relieve(&self) -> Result<(), SpillFailure> {
        let mut spill = self.spill.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (number, blob) = {
                let state = self.lock();
                if state.usage.memory_bytes <= self.limits.memory_bytes {
                    return Ok(());
                }
                let left = self.limits.disk_bytes.saturating_sub(state.usage.disk_bytes);
                let Some(victim) = state.victim(left) else { return Err(SpillFailure::Budget) };
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
                    return Err(SpillFailure::Disk(reason));
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
    pub fn describe(&self, scope: Scope, name: &str) -> Option<ArtifactDescription> {
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

    /// Returns the number and the size of the artifacts of `scope`.
    #[must_use]
    pub fn scope_stats(&self, scope: Scope) -> ArtifactStats {
        let state = self.lock();
        let found = state.scopes.get(&scope);
        found.map(|names| ArtifactStats { artifacts: names.numbers.len(), bytes: names.bytes }).unwrap_or_default()
    }

    /// Returns what `scope` contains, with the facts about its artifact `name`. All facts are of the same moment: other
    /// threads may add, move and remove artifacts between two calls.
    #[must_use]
    pub fn describe_scope(&self, scope: Scope, name: &str) -> ScopeDescription {
        let state = self.lock();
        let Some(names) = state.scopes.get(&scope) else { return ScopeDescription::default() };
        let number = names.numbers.get(name);
        ScopeDescription {
            named: number.map(|number| state.artifacts[number].describe()),
            others: names.numbers.len() - usize::from(number.is_some()),
            content_bytes: names.content_bytes,
        }
    }

    /// Returns the uncompressed size of the artifacts of `scope` in bytes.
    #[must_use]
    pub fn scope_content_bytes(&self, scope: Scope) -> u64 {
        self.lock().scopes.get(&scope).map_or(0, |names| names.content_bytes)
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
    pub fn stats(&self) -> ArtifactStats {
        let usage = self.usage();
        ArtifactStats { artifacts: usage.artifacts, bytes: usage.bytes() }
    }

    /// Returns how much memory and disk space the store uses.
    #[must_use]
    pub fn usage(&self) -> StoreUsage {
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
