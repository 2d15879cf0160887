//! The maps of a store. All methods are fast: none accesses the disk.

use super::{Scope, SpilledBlob, StoreError, StoreLimits, StoreUsage, Stored};
use crate::Blob;
use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

/// Artifacts smaller than this are spilled last. Results are usually smaller, and they are read soon after they arrive.
/// The records of shards are usually larger, and they wait for a worker.
const SMALL_BYTES: u64 = 2 << 20;

/// The artifacts of a store by scope and name, and the space that they use.
#[derive(Debug, Default)]
pub(super) struct StoreContents {
    pub(super) scopes: BTreeMap<Scope, ScopeNames>,
    /// Artifacts by number, in the order in which they were stored. An artifact keeps its number when it moves to
    /// another scope, also while it is being spilled.
    pub(super) artifacts: BTreeMap<u64, Stored>,
    next: u64,
    pub(super) usage: StoreUsage,
    /// Why the last write to the disk failed; `None` if it succeeded, or if there has been room again since.
    pub(super) refusal: Option<String>,
}

/// The artifacts of one scope.
#[derive(Debug, Default)]
pub(super) struct ScopeNames {
    /// Numbers of the artifacts, by name.
    pub(super) numbers: HashMap<String, u64>,
    /// Their compressed size.
    pub(super) bytes: u64,
    /// Their uncompressed size.
    pub(super) content_bytes: u64,
}

impl StoreContents {
    pub(super) fn number(&self, scope: Scope, name: &str) -> Option<u64> {
        self.scopes.get(&scope)?.numbers.get(name).copied()
    }

    pub(super) fn find(&self, scope: Scope, name: &str) -> Option<&Stored> {
        self.artifacts.get(&self.number(scope, name)?)
    }

    /// Stores `blob` and returns its number; `None` if the scope already has the same content under `name`.
    pub(super) fn insert(&mut self, scope: Scope, name: &str, blob: Blob) -> Result<Option<u64>, StoreError> {
        if let Some(present) = self.find(scope, name) {
            let same = present.describe().digest == blob.digest();
            return if same { Ok(None) } else { Err(StoreError::Exists(name.to_owned())) };
        }
        let number = self.next;
        self.next += 1;
        self.usage.artifacts += 1;
        self.usage.memory_bytes += blob.stored_bytes();
        self.usage.content_bytes += blob.len();
        self.artifacts.insert(number, Stored::Memory(blob));
        self.name(scope, name, number);
        Ok(Some(number))
    }

    pub(super) fn name(&mut self, scope: Scope, name: &str, number: u64) {
        let names = self.scopes.entry(scope).or_default();
        let stored = &self.artifacts[&number];
        names.bytes += stored.stored_bytes();
        names.content_bytes += stored.describe().len;
        names.numbers.insert(name.to_owned(), number);
    }

    /// Removes the name of an artifact and returns its number. The artifact itself stays.
    pub(super) fn unname(&mut self, scope: Scope, name: &str) -> Option<u64> {
        let names = self.scopes.get_mut(&scope)?;
        let number = names.numbers.remove(name)?;
        let stored = &self.artifacts[&number];
        names.bytes -= stored.stored_bytes();
        names.content_bytes -= stored.describe().len;
        if names.numbers.is_empty() {
            self.scopes.remove(&scope);
        }
        Some(number)
    }

    /// Removes and returns an artifact that no longer has a name.
    pub(super) fn forget(&mut self, number: u64) -> Option<Stored> {
        let stored = self.artifacts.remove(&number)?;
        self.usage.artifacts -= 1;
        self.usage.content_bytes -= stored.describe().len;
        match &stored {
            Stored::Memory(blob) => self.usage.memory_bytes -= blob.stored_bytes(),
            Stored::Disk(spilled) => self.usage.disk_bytes -= spilled.stored_bytes(),
        }
        Some(stored)
    }

    pub(super) fn remove(&mut self, scope: Scope, name: &str) -> Option<Stored> {
        let number = self.unname(scope, name)?;
        self.forget(number)
    }

    /// Returns the number and the content of the next blob to spill, of at most `max_bytes`.
    ///
    /// The newest blob is spilled first. Tasks wait in a queue, and each reads its inputs once, in the order of their
    /// arrival, so the newest input is needed last. The program, which all tasks read, is the oldest artifact. Small
    /// blobs are spilled later. Blobs that a reader holds are spilled last, because they would stay in memory anyway.
    pub(super) fn victim(&self, max_bytes: u64) -> Option<(u64, Blob)> {
        let newest = |suits: &dyn Fn(&Blob) -> bool| {
            self.artifacts.iter().rev().find_map(|(number, stored)| match stored {
                Stored::Memory(blob) if (1..=max_bytes).contains(&blob.stored_bytes()) && suits(blob) => {
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
    pub(super) fn settle(&mut self, number: u64, spilled: SpilledBlob) -> Stored {
        let Some(place) = self.artifacts.get_mut(&number) else { return Stored::Disk(spilled) };
        self.usage.memory_bytes -= place.stored_bytes();
        self.usage.disk_bytes += spilled.stored_bytes();
        mem::replace(place, Stored::Disk(spilled))
    }

    /// Returns whether the store is under pressure, given whether it was before. Pressure starts when more than three
    /// quarters of memory and disk space are used, which leaves room for artifacts that are already on their way. It
    /// ends when half is free again, so that it does not start and end with every artifact.
    pub(super) fn is_pressed(&self, limits: &StoreLimits, was: bool) -> bool {
        // A disk that rejects writes counts as full.
        let disk = if self.refusal.is_some() { self.usage.disk_bytes } else { limits.disk_bytes };
        let room = limits.memory_bytes.saturating_add(disk);
        self.usage.bytes() > if was { room / 2 } else { room / 4 * 3 }
    }
}
