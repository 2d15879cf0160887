//! Which results are on disk, how large their files are, and which were not used for the longest time.
//!
//! The index decides and knows no files. Its caller removes the files that it names before it writes the next one, so
//! that all files together never exceed the limit.

use std::collections::{BTreeMap, HashMap};

/// A file of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IndexedFile {
    bytes: u64,
    /// Number of its last use. A larger number is a later use.
    used: u64,
}

/// The files of the cache by name, and their order by last use.
#[derive(Debug)]
pub(super) struct CacheIndex {
    limit: u64,
    files: HashMap<String, IndexedFile>,
    by_use: BTreeMap<u64, String>,
    /// Size of all files.
    stored: u64,
    /// Size of the files that are being written.
    incoming: u64,
    uses: u64,
}

impl CacheIndex {
    /// Returns the index of `files`, each with its name and size, from the least to the most recently used.
    pub(super) fn new(limit: u64, files: impl IntoIterator<Item = (String, u64)>) -> Self {
        let (files_by_name, by_use) = (HashMap::new(), BTreeMap::new());
        let mut index = Self { limit, files: files_by_name, by_use, stored: 0, incoming: 0, uses: 0 };
        for (name, bytes) in files {
            index.insert(name, bytes);
        }
        index
    }

    fn insert(&mut self, name: String, bytes: u64) {
        self.remove(&name);
        self.uses += 1;
        self.stored += bytes;
        self.by_use.insert(self.uses, name.clone());
        self.files.insert(name, IndexedFile { bytes, used: self.uses });
    }

    /// Returns true if the file `name` exists, which counts as a use.
    pub(super) fn touch(&mut self, name: &str) -> bool {
        let Some(bytes) = self.files.get(name).map(|file| file.bytes) else { return false };
        self.insert(name.to_owned(), bytes);
        true
    }

    /// Forgets the file `name`.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(file) = self.files.remove(name) {
            self.stored -= file.bytes;
            self.by_use.remove(&file.used);
        }
    }

    /// Forgets the least recently used files until `is_enough` holds, and returns their names. It is called with the
    /// size of the remaining files, and of the files that are being written.
    fn evict_until(&mut self, is_enough: impl Fn(u64, u64) -> bool) -> Vec<String> {
        let mut evicted = Vec::new();
        while !is_enough(self.stored, self.incoming) {
            let Some((_, name)) = self.by_use.pop_first() else { break };
            if let Some(file) = self.files.remove(&name) {
                self.stored -= file.bytes;
            }
            evicted.push(name);
        }
        evicted
    }

    /// Returns the files to remove so that all files together are within the limit.
    pub(super) fn over_limit(&mut self) -> Vec<String> {
        let limit = self.limit;
        self.evict_until(|stored, incoming| stored + incoming <= limit)
    }

    /// Makes room for a new file of `bytes` bytes, and returns the files to remove first. `None` if there is no room.
    /// After `Some`, call [`CacheIndex::commit`] or [`CacheIndex::abort`].
    pub(super) fn admit(&mut self, bytes: u64) -> Option<Vec<String>> {
        // The files that are being written cannot be removed.
        if self.incoming.saturating_add(bytes) > self.limit {
            return None;
        }
        self.incoming += bytes;
        Some(self.over_limit())
    }

    /// Adds the file `name` of `bytes` bytes, which was admitted and is written.
    pub(super) fn commit(&mut self, name: String, bytes: u64) {
        self.abort(bytes);
        self.insert(name, bytes);
    }

    /// Gives up a file of `bytes` bytes that was admitted.
    pub(super) fn abort(&mut self, bytes: u64) {
        self.incoming -= bytes;
    }

    /// Returns the files to remove to free at least `bytes` bytes, or all files if they are smaller together.
    pub(super) fn give_back(&mut self, bytes: u64) -> Vec<String> {
        let kept = self.stored.saturating_sub(bytes);
        self.evict_until(|stored, _| stored <= kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(limit: u64) -> CacheIndex {
        CacheIndex::new(limit, ["a", "b", "c"].map(|name| (name.to_owned(), 10)))
    }

    #[track_caller]
    fn check(index: &CacheIndex, names: &str, stored: u64) {
        let by_use: String = index.by_use.values().cloned().collect();
        assert_eq!((by_use.as_str(), index.stored), (names, stored), "{index:?}");
        assert_eq!(index.files.values().map(|file| file.bytes).sum::<u64>(), stored);
        assert_eq!(index.files.len(), index.by_use.len());
        assert!(index.stored + index.incoming <= index.limit, "{index:?}");
    }

    #[test]
    fn least_recently_used_files_give_way_to_a_new_one() {
        let mut index = index(35);
        assert!(index.touch("a") && !index.touch("x"));
        check(&index, "bca", 30);
        assert_eq!(index.admit(15).unwrap(), ["b"]);
        check(&index, "ca", 20);
        index.commit("d".to_owned(), 15);
        check(&index, "cad", 35);
        // The same key again, larger.
        assert_eq!(index.admit(20).unwrap(), ["c", "a"]);
        index.commit("d".to_owned(), 20);
        check(&index, "d", 20);
        index.remove("d");
        check(&index, "", 0);
    }

    #[test]
    fn files_that_are_being_written_count_and_are_not_removed() {
        let mut index = index(35);
        assert_eq!(index.admit(35).unwrap(), ["a", "b", "c"]);
        assert_eq!(index.admit(1), None);
        index.abort(35);
        assert_eq!(index.admit(36), None, "larger than the limit");
        assert_eq!(index.admit(u64::MAX), None);
        check(&index, "", 0);
    }

    #[test]
    fn smaller_limit_and_wanted_space_remove_the_oldest_files() {
        let mut small = CacheIndex::new(15, ["a", "b", "c"].map(|name| (name.to_owned(), 10)));
        assert_eq!(small.over_limit(), ["a", "b"]);
        check(&small, "c", 10);
        let mut index = index(35);
        assert_eq!(index.give_back(11), ["a", "b"]);
        assert_eq!(index.give_back(0), Vec::<String>::new());
        assert_eq!(index.give_back(u64::MAX), ["c"]);
        check(&index, "", 0);
    }
}
