//! Blobs by scope and name.

use crate::Blob;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Whose artifacts these are. The caller numbers its scopes; everything of a scope goes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(pub u64);

/// Why the store did not take an artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Artifacts are immutable: the name is taken in this scope, by other bytes.
    #[error("artifact {0} exists already with other content")]
    Exists(String),
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Artifacts, over all scopes.
    pub artifacts: usize,
    /// Bytes in memory, compressed.
    pub bytes: u64,
}

/// Blobs by scope and name, in memory. Safe to share; no call blocks for longer than a map operation.
#[derive(Debug, Default)]
pub struct Store {
    scopes: Mutex<Scopes>,
}

#[derive(Debug, Default)]
struct Scopes {
    scopes: BTreeMap<Scope, Names>,
    stats: Stats,
}

#[derive(Debug, Default)]
struct Names {
    blobs: HashMap<String, Blob>,
    bytes: u64,
}

impl Scopes {
    fn insert(&mut self, scope: Scope, name: String, blob: Blob) -> Result<(), StoreError> {
        let names = self.scopes.entry(scope).or_default();
        if let Some(present) = names.blobs.get(&name) {
            return if present.digest() == blob.digest() { Ok(()) } else { Err(StoreError::Exists(name)) };
        }
        self.stats.artifacts += 1;
        self.stats.bytes += blob.stored_bytes();
        names.bytes += blob.stored_bytes();
        names.blobs.insert(name, blob);
        Ok(())
    }

    fn remove(&mut self, scope: Scope, name: &str) -> Option<Blob> {
        let names = self.scopes.get_mut(&scope)?;
        let blob = names.blobs.remove(name)?;
        names.bytes -= blob.stored_bytes();
        if names.blobs.is_empty() {
            self.scopes.remove(&scope);
        }
        self.stats.artifacts -= 1;
        self.stats.bytes -= blob.stored_bytes();
        Some(blob)
    }
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Scopes> {
        // No call leaves the maps half changed, so a panic elsewhere does not spoil them.
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `blob` as `name` of `scope`. The same content again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name has other content.
    pub fn put(&self, scope: Scope, name: impl Into<String>, blob: Blob) -> Result<(), StoreError> {
        self.lock().insert(scope, name.into(), blob)
    }

    /// The blob `name` of `scope`.
    #[must_use]
    pub fn get(&self, scope: Scope, name: &str) -> Option<Blob> {
        self.lock().scopes.get(&scope)?.blobs.get(name).cloned()
    }

    /// Forgets `name` of `scope` and returns it, if it was there.
    pub fn remove(&self, scope: Scope, name: &str) -> Option<Blob> {
        self.lock().remove(scope, name)
    }

    /// Forgets everything of `scope`.
    pub fn remove_scope(&self, scope: Scope) {
        let mut scopes = self.lock();
        let Some(names) = scopes.scopes.remove(&scope) else { return };
        scopes.stats.artifacts -= names.blobs.len();
        scopes.stats.bytes -= names.bytes;
    }

    /// Names in `scope`, in no order.
    #[must_use]
    pub fn names(&self, scope: Scope) -> Vec<String> {
        self.lock().scopes.get(&scope).map(|names| names.blobs.keys().cloned().collect()).unwrap_or_default()
    }

    /// What `scope` holds.
    #[must_use]
    pub fn scope_stats(&self, scope: Scope) -> Stats {
        let scopes = self.lock();
        let found = scopes.scopes.get(&scope);
        found.map(|names| Stats { artifacts: names.blobs.len(), bytes: names.bytes }).unwrap_or_default()
    }

    /// Makes `name` of `from` an artifact of `to` under the same name. True when it was there and `to` now has that content.
    pub fn promote(&self, from: Scope, to: Scope, name: &str) -> bool {
        let mut scopes = self.lock();
        let Some(blob) = scopes.remove(from, name) else { return false };
        scopes.insert(to, name.to_owned(), blob).is_ok()
    }

    /// What the store holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.lock().stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROOF: Scope = Scope(1);
    const ATTEMPT: Scope = Scope(2);

    #[test]
    fn nothing_stays_of_a_removed_scope() {
        let store = Store::new();
        store.put(PROOF, "a", Blob::encode(b"one")).unwrap();
        store.put(PROOF, "b", Blob::encode(b"two")).unwrap();
        store.put(ATTEMPT, "a", Blob::encode(b"three")).unwrap();
        assert_eq!(store.stats().artifacts, 3);
        assert_eq!(store.scope_stats(PROOF), Stats { artifacts: 2, bytes: 6 });
        store.remove_scope(PROOF);
        assert!(store.get(PROOF, "a").is_none());
        assert!(store.get(ATTEMPT, "a").is_some());
        assert!(store.remove(ATTEMPT, "a").is_some());
        assert_eq!(store.stats(), Stats::default());
    }

    #[test]
    fn an_artifact_never_changes() {
        let store = Store::new();
        store.put(PROOF, "a", Blob::encode(b"one")).unwrap();
        assert_eq!(store.put(PROOF, "a", Blob::encode(b"one")), Ok(()));
        assert_eq!(store.put(PROOF, "a", Blob::encode(b"two")), Err(StoreError::Exists("a".into())));
        assert_eq!(store.get(PROOF, "a").unwrap().decode().unwrap(), b"one");
        assert_eq!(store.stats().artifacts, 1);
    }

    #[test]
    fn promotion_moves_and_never_overwrites() {
        let store = Store::new();
        store.put(ATTEMPT, "a", Blob::encode(b"one")).unwrap();
        assert!(store.promote(ATTEMPT, PROOF, "a"));
        assert!(!store.promote(ATTEMPT, PROOF, "a"), "it is gone from the attempt");
        store.put(ATTEMPT, "a", Blob::encode(b"two")).unwrap();
        assert!(!store.promote(ATTEMPT, PROOF, "a"));
        assert_eq!(store.get(PROOF, "a").unwrap().decode().unwrap(), b"one");
        assert_eq!(store.stats().artifacts, 1);
    }
}
