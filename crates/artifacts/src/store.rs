//! Blobs by scope and name.

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

/// Artifacts smaller than this are spilled last. Results are, and they are read as soon as they have come; the records
/// of shards that wait for a worker are not.
const SMALL_BYTES: u64 = 2 << 20;

/// Whose artifacts these are. The caller numbers its scopes; everything of a scope goes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(pub u64);

/// Why the store did not take an artifact, or does not give it back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Artifacts are immutable: the name is taken in this scope, by other bytes.
    #[error("artifact {0} exists already with other content")]
    Exists(String),
    /// Neither memory nor disk has room. Nothing changes until artifacts are removed: whoever needs this one has to
    /// give up.
    #[error("there is no room for artifact {name} ({}): {reason}", size(*.bytes))]
    Full {
        /// The artifact that was not taken.
        name: String,
        /// Its compressed bytes.
        bytes: u64,
        /// What is used up, and what to do about it.
        reason: String,
    },
    /// No folder can be made to spill to.
    #[error("cannot make a folder to spill artifacts to in {}: {reason}; name another one, or make it writable", path.display())]
    Folder {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A spilled artifact is lost.
    #[error("the artifact spilled to {} cannot be read back: {reason}; see whether something removes or changes files there, or the disk is failing", path.display())]
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a store, or a scope of it, holds, wherever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Artifacts.
    pub artifacts: usize,
    /// Their bytes, compressed.
    pub bytes: u64,
}

/// What a store uses. Blobs and files that somebody still reads after they left the store are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Compressed bytes in memory.
    pub memory_bytes: u64,
    /// Compressed bytes on disk.
    pub disk_bytes: u64,
    /// Artifacts in either.
    pub artifacts: usize,
}

impl Usage {
    fn bytes(self) -> u64 {
        self.memory_bytes.saturating_add(self.disk_bytes)
    }
}

/// What is known of an artifact without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Digest of the uncompressed bytes.
    pub digest: Digest,
    /// Uncompressed length in bytes.
    pub len: u64,
}

/// An artifact where the store has it. It stays readable when the store forgets or moves it meanwhile. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Stored {
    /// In memory.
    Memory(Blob),
    /// In a file.
    Disk(SpilledBlob),
}

impl Stored {
    /// What is known of it.
    #[must_use]
    pub fn describe(&self) -> Description {
        match self {
            Self::Memory(blob) => Description { digest: blob.digest(), len: blob.len() },
            Self::Disk(spilled) => Description { digest: spilled.digest(), len: spilled.len() },
        }
    }

    /// Bytes kept of it: the compressed ones.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        match self {
            Self::Memory(blob) => blob.stored_bytes(),
            Self::Disk(spilled) => spilled.stored_bytes(),
        }
    }

    /// The blob. Blocks when it is on disk: match on the variants where that is not allowed.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when it was spilled and its file is not what was written.
    pub fn load(self) -> Result<Blob, StoreError> {
        match self {
            Self::Memory(blob) => Ok(blob),
            Self::Disk(spilled) => spilled.load(),
        }
    }
}

/// Blobs by scope and name: in memory up to a budget, in files beyond it. Safe to share.
///
/// [`Store::new`], [`Store::prepare`], [`Store::put`], and loading what [`Store::get`] returns touch the disk and
/// block. Everything else takes no longer than operations on maps, and never waits for one of those.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    state: Mutex<State>,
    /// Locked while something is spilled, so that one thread at a time chooses and writes; taken before `state`, which
    /// is free meanwhile.
    spill: Mutex<Spill>,
    /// Changed with `state` locked only.
    pressed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    scopes: BTreeMap<Scope, Names>,
    /// By number, which grows: an artifact keeps its own when it gets another scope, also while it is being spilled.
    artifacts: BTreeMap<u64, Stored>,
    next: u64,
    usage: Usage,
    /// Why the disk took nothing when it was last asked, if so.
    refusal: Option<String>,
}

#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<String, u64>,
    bytes: u64,
}

/// Why memory stays above its budget.
enum Refusal {
    /// The disk's budget has no room for anything that is in memory.
    Budget,
    /// The disk itself does not take it.
    Disk(String),
}

impl State {
    fn number(&self, scope: Scope, name: &str) -> Option<u64> {
        self.scopes.get(&scope)?.numbers.get(name).copied()
    }

    fn find(&self, scope: Scope, name: &str) -> Option<&Stored> {
        self.artifacts.get(&self.number(scope, name)?)
    }

    /// The new artifact's number; none when it is there already.
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

    /// Takes its name from an artifact, which stays.
    fn unname(&mut self, scope: Scope, name: &str) -> Option<u64> {
        let names = self.scopes.get_mut(&scope)?;
        let number = names.numbers.remove(name)?;
        names.bytes -= self.artifacts[&number].stored_bytes();
        if names.numbers.is_empty() {
            self.scopes.remove(&scope);
        }
        Some(number)
    }

    /// Takes out an artifact that has no name any more.
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

    /// What to spill next, of at most `most_bytes`.
    ///
    /// The newest goes first. Tasks wait in a queue and their inputs are read once each, in the order they came, so
    /// what came last is needed last; and what all tasks read, the program, came before everything else. What is small
    /// goes later, and last what somebody holds at the moment, because it would stay in memory all the same.
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

    /// Puts `spilled` in the place of what it was made of. Returns what nobody needs any more, to be dropped without
    /// the lock.
    fn settle(&mut self, number: u64, spilled: SpilledBlob) -> Stored {
        let Some(place) = self.artifacts.get_mut(&number) else { return Stored::Disk(spilled) };
        self.usage.memory_bytes -= place.stored_bytes();
        self.usage.disk_bytes += spilled.stored_bytes();
        mem::replace(place, Stored::Disk(spilled))
    }

    /// Whether there is pressure, given whether there was. It begins when three quarters of all room are used, so that
    /// what is already on its way finds some, and ends when half is free again, so that it does not come and go with
    /// every artifact.
    fn is_pressed(&self, limits: &Limits, was: bool) -> bool {
        // A disk that refuses has room for what it has, and no more.
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
    /// An empty store that keeps to `limits`. Removes the folders that dead processes left in its spill folder, and
    /// blocks meanwhile; makes none before something is spilled.
    #[must_use]
    pub fn new(mut limits: Limits) -> Self {
        if limits.spill_folder.is_none() {
            limits.disk_bytes = 0;
        }
        let spill = Mutex::new(Spill::new(limits.spill_folder.clone()));
        Self { limits, state: Mutex::default(), spill, pressed: watch::Sender::new(false) }
    }

    /// An empty store that takes everything and never touches the disk.
    #[must_use]
    pub fn unbounded() -> Self {
        Self::new(Limits::unbounded())
    }

    /// What it keeps to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Makes the spill folder now, if there is to be one: for whoever wants to hear at the start that it cannot be
    /// made. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Folder`] when it cannot be made.
    pub fn prepare(&self) -> Result<(), StoreError> {
        let Some(path) = &self.limits.spill_folder else { return Ok(()) };
        let made = self.spill.lock().unwrap_or_else(PoisonError::into_inner).folder();
        match made {
            Ok(_) => Ok(()),
            Err(error) => Err(StoreError::Folder { path: path.clone(), reason: error.to_string() }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No call leaves the maps half changed, so a panic elsewhere does not spoil them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the maps. What `change` takes out of them it returns, so that blobs are freed and files discarded
    /// without the lock.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let outcome = change(&mut state);
        let before = *self.pressed.borrow();
        let after = state.is_pressed(&self.limits, before);
        if before != after {
            if !after {
                // There is room again; the disk is asked afresh when it is needed.
                state.refusal = None;
            }
            self.pressed.send_replace(after);
        }
        outcome
    }

    /// Keeps `blob` as `name` of `scope`. The same content again changes nothing.
    ///
    /// Blocks while memory is over its budget and something is written to disk: not for an asynchronous thread. Readers
    /// see the artifact at once; memory is over its budget by what is being put at the moment.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name has other content, [`StoreError::Full`] when there is no room; nothing is
    /// kept then. A disk that refuses what its budget allows comes without warning, so memory may then grow by half of
    /// its budget before the store is full.
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
            // Another thread may have made room, or moved this artifact to disk or to another owner.
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

    /// Most bytes in memory while the disk refuses.
    fn most_memory(&self) -> u64 {
        self.limits.memory_bytes.saturating_add(self.limits.memory_bytes / 2)
    }

    fn describe_refusal(&self, refusal: &Refusal, usage: Usage) -> String {
        let memory = size(self.limits.memory_bytes);
        let Some(folder) = self.limits.spill_folder.as_ref().map(|folder| folder.display()) else {
            return format!(
                "the {memory} of memory for artifacts are used up and there is no folder to spill to; name one, or allow more memory"
            );
        };
        match refusal {
            Refusal::Budget => format!(
                "the {memory} of memory and {} in {folder} for artifacts are used up; allow more of either, or add workers",
                size(self.limits.disk_bytes)
            ),
            Refusal::Disk(reason) => format!(
                "{folder} takes no more ({reason}) and {} of memory are used where {memory} are allowed; \
                 make room there, or name another folder",
                size(usage.memory_bytes)
            ),
        }
    }

    /// Spills until memory is within its budget. Waits for whoever does so already.
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

    /// The artifact `name` of `scope`, in memory or on disk. Does not read it.
    #[must_use]
    pub fn get(&self, scope: Scope, name: &str) -> Option<Stored> {
        self.lock().find(scope, name).cloned()
    }

    /// What is known of `name` of `scope`.
    #[must_use]
    pub fn describe(&self, scope: Scope, name: &str) -> Option<Description> {
        self.lock().find(scope, name).map(Stored::describe)
    }

    /// Forgets `name` of `scope`. True when it was there.
    pub fn remove(&self, scope: Scope, name: &str) -> bool {
        let removed = self.change(|state| state.remove(scope, name));
        removed.is_some()
    }

    /// Forgets everything of `scope`.
    pub fn remove_scope(&self, scope: Scope) {
        let _removed: Vec<Stored> = self.change(|state| {
            let names = state.scopes.remove(&scope).unwrap_or_default();
            names.numbers.into_values().filter_map(|number| state.forget(number)).collect()
        });
    }

    /// Names in `scope`, in no order.
    #[must_use]
    pub fn names(&self, scope: Scope) -> Vec<String> {
        self.lock().scopes.get(&scope).map(|names| names.numbers.keys().cloned().collect()).unwrap_or_default()
    }

    /// What `scope` holds.
    #[must_use]
    pub fn scope_stats(&self, scope: Scope) -> Stats {
        let state = self.lock();
        let found = state.scopes.get(&scope);
        found.map(|names| Stats { artifacts: names.numbers.len(), bytes: names.bytes }).unwrap_or_default()
    }

    /// Makes `name` of `from` an artifact of `to` under the same name. True when it was there and `to` now has that
    /// content. Does not move its bytes.
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

    /// What the store holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let usage = self.usage();
        Stats { artifacts: usage.artifacts, bytes: usage.bytes() }
    }

    /// What the store uses, and where.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.lock().usage
    }

    /// Why the disk took nothing when it was last asked; `None` when it did, or was not asked since there was room
    /// again.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.lock().refusal.clone()
    }

    /// True from when three quarters of memory and disk are used until half of them are free again: nothing that can
    /// wait should be put.
    #[must_use]
    pub fn is_under_pressure(&self) -> bool {
        *self.pressed.borrow()
    }

    /// Resolves when the store is not under pressure: at once, mostly.
    ///
    /// Whoever waits must be sure that something else will remove artifacts: what nobody frees before the waiting one
    /// goes on is never freed.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn wait_for_room(&self) {
        let mut pressed = self.pressed.subscribe();
        // It fails only when the sender is gone, which is borrowed here.
        let _ = pressed.wait_for(|pressed| !*pressed).await;
    }
}
