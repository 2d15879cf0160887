//! The result cache: one file for each key, within a size limit.

use super::{
    file_format,
    index::CacheIndex,
    start::{CacheStart, LINEAGE, STARTS, plan_start, write_start},
};
use crate::state::{
    blobs::is_digest,
    disk::{DiskSpace, ReclaimableSpace},
    private_files::{create_private_folder, make_private, sync_folder},
};
use sp1d_artifacts::Digest;
use sp1d_orchestrator::{CachedResult, ResultCache};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::SystemTime,
};
use tempfile::NamedTempFile;

/// Prefix of files that are being written.
const UNFINISHED: &str = ".part-";

/// The result cache on disk. A damaged file is ignored and removed.
pub(crate) struct DiskResultCache {
    folder: PathBuf,
    /// Maximum size of all files in bytes; 0 disables the cache.
    limit: u64,
    space: Arc<DiskSpace>,
    index: Mutex<CacheIndex>,
}

impl DiskResultCache {
    /// Opens the cache in `folder`, which uses at most `limit` bytes of `space`. Removes what an earlier process has
    /// not finished, and the least recently used results beyond the limit.
    pub(crate) fn open(folder: PathBuf, limit: u64, space: Arc<DiskSpace>) -> io::Result<Arc<Self>> {
        if !folder.is_dir() {
            create_private_folder(&folder)?;
        }
        make_private(&folder);
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder)?.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with(UNFINISHED) {
                remove(&entry.path());
            } else if name != STARTS
                && name != LINEAGE
                && let Ok(found) = entry.metadata()
            {
                files.push((found.modified().unwrap_or(SystemTime::UNIX_EPOCH), name, found.len()));
            }
        }
        files.sort();
        let index = CacheIndex::new(limit, files.into_iter().map(|(_, name, bytes)| (name, bytes)));
        let cache = Arc::new(Self { folder, limit, space, index: Mutex::new(index) });
        cache.remove_all(&cache.index().over_limit());
        let reclaimable: Weak<Self> = Arc::downgrade(&cache);
        cache.space.set_reclaimable(reclaimable);
        Ok(cache)
    }

    fn index(&self) -> MutexGuard<'_, CacheIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove_all(&self, names: &[String]) {
        names.iter().for_each(|name| remove(&self.folder.join(name)));
    }

    /// Reads how the start number `start` of the service uses the cache. Writes nothing.
    pub(crate) fn plan_start(&self, start: u64) -> io::Result<CacheStart> {
        plan_start(&self.folder, start)
    }

    /// Records a start of the service. Removes all results if they do not belong to the database.
    pub(crate) fn record_start(&self, start: &CacheStart) -> io::Result<()> {
        if start.clears {
            tracing::warn!(folder = %self.folder.display(), "the database is older than the result cache; all cached results are removed");
            self.remove_all(&self.index().give_back(u64::MAX));
        }
        write_start(&self.folder, start)
    }

    /// Removes all results that were made for one of the `inputs`, given by their digests, and files of another format.
    /// Returns their number. When this returns, a power failure does not bring them back. Reads the start of each file,
    /// once for all inputs. Blocks.
    ///
    /// # Errors
    /// If a file cannot be read or removed.
    pub(crate) fn forget_inputs(&self, inputs: &BTreeSet<String>) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Some(name) = entry.file_name().into_string().ok().filter(|name| is_digest(name)) else { continue };
            let path = entry.path();
            let of = match File::open(&path) {
                Ok(mut file) => file_format::read_input(&mut file),
                // It gave way to another result meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if of.is_some_and(|of| !inputs.contains(&of.to_string())) {
                continue;
            }
            self.index().remove(&name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => removed += 1,
            }
        }
        if removed > 0 {
            sync_folder(&self.folder)?;
        }
        Ok(removed)
    }

    /// Writes a file of `bytes` bytes, for which the index has made room.
    fn write(&self, name: &str, result: &CachedResult) -> io::Result<()> {
        let file = NamedTempFile::with_prefix_in(UNFINISHED, &self.folder)?;
        let mut writer = BufWriter::new(file);
        file_format::write(result, &mut writer)?;
        writer.flush()?;
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        // Not synced: a result that is lost in a power failure is proven again.
        file.persist(self.folder.join(name))?;
        Ok(())
    }

    /// Stores `result` if it fits within the limit and into the space that requests leave.
    fn store(&self, key: Digest, result: &CachedResult) -> Result<(), String> {
        let bytes = file_format::file_bytes(result).ok_or("it has too many artifacts")?;
        if self.space.missing(bytes) > 0 {
            return Err("the disk is nearly full".to_owned());
        }
        let name = key.to_string();
        {
            let mut index = self.index();
            let evicted = index.admit(bytes).ok_or("it is larger than the cache has room for")?;
            // With the lock, so that the files together never exceed the limit.
            self.remove_all(&evicted);
        }
        let written = self.write(&name, result);
        let mut index = self.index();
        match written {
            Ok(()) => {
                index.commit(name, bytes);
                Ok(())
            }
            Err(error) => {
                index.abort(bytes);
                Err(error.to_string())
            }
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a cached result");
    }
}

impl ReclaimableSpace for DiskResultCache {
    fn give_back(&self, bytes: u64) {
        let mut index = self.index();
        let names = index.give_back(bytes);
        self.remove_all(&names);
        drop(index);
        if !names.is_empty() {
            tracing::info!(results = names.len(), "cached results removed: requests need their disk space");
        }
    }
}

impl ResultCache for DiskResultCache {
    fn find(&self, key: Digest) -> Option<CachedResult> {
        let name = key.to_string();
        if !self.index().touch(&name) {
            return None;
        }
        let path = self.folder.join(&name);
        let Ok(file) = File::open(&path) else {
            self.forget(&[key]);
            return None;
        };
        let found = file_format::read(&mut BufReader::new(&file));
        if found.is_none() {
            tracing::warn!(path = %path.display(), "a cached result is damaged and is removed");
            self.forget(&[key]);
        } else {
            // The next process orders the files by the time of their last use.
            let _ = file.set_modified(SystemTime::now());
        }
        found
    }

    fn keep(&self, key: Digest, result: CachedResult) {
        if self.limit == 0 {
            return;
        }
        if let Err(reason) = self.store(key, &result) {
            tracing::warn!(folder = %self.folder.display(), %reason, "cannot cache a result; a restart would prove it again");
        }
    }

    fn stores_results(&self) -> bool {
        self.limit > 0
    }

    fn forget(&self, keys: &[Digest]) {
        let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let mut index = self.index();
        names.iter().for_each(|name| index.remove(name));
        self.remove_all(&names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_artifacts::Blob;

    fn open(folder: &Path, limit: u64, min_free: u64) -> Arc<DiskResultCache> {
        let space = DiskSpace::new(folder.to_owned(), min_free);
        DiskResultCache::open(folder.join("memo"), limit, space).unwrap()
    }

    fn cache(limit: u64) -> (tempfile::TempDir, Arc<DiskResultCache>) {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), limit, 0);
        (folder, cache)
    }

    fn result(content: &[u8]) -> CachedResult {
        result_for(b"input", content)
    }

    fn result_for(input: &[u8], content: &[u8]) -> CachedResult {
        let event_uploads = vec![("#1".into(), Blob::encode(&[1])), ("made-1-x".into(), Blob::encode(&[]))];
        CachedResult { input_digest: Digest::of(input), output: Blob::encode(content), event_uploads }
    }

    /// Returns the output of the result under `key`.
    fn found(cache: &DiskResultCache, key: Digest) -> Option<Vec<u8>> {
        cache.find(key).map(|found| found.output.decode().unwrap())
    }

    /// Returns the size of all results on disk.
    fn stored(cache: &DiskResultCache) -> u64 {
        let entries = fs::read_dir(&cache.folder).unwrap().flatten();
        let results = entries.filter(|entry| entry.file_name() != STARTS && entry.file_name() != LINEAGE);
        results.map(|entry| entry.metadata().unwrap().len()).sum()
    }

    #[test]
    fn stored_results_are_found_until_forgotten() {
        let (folder, cache) = cache(1 << 20);
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        assert_eq!(found(&cache, one), None);
        cache.keep(one, result(b"first"));
        cache.keep(two, result(b"second"));
        let again = open(folder.path(), 1 << 20, 0);
        assert_eq!(found(&again, one).unwrap(), b"first");
        assert_eq!(found(&again, two).unwrap(), b"second");
        again.forget(&[one]);
        assert_eq!((found(&again, one), found(&again, two).unwrap()), (None, b"second".to_vec()));
    }

    #[test]
    fn results_of_a_deleted_input_are_removed() {
        let (folder, cache) = cache(1 << 20);
        let [one, two, old] = [b"one", b"two", b"old"].map(|key| Digest::of(key));
        cache.keep(one, result_for(b"first input", b"first"));
        cache.keep(two, result_for(b"second input", b"second"));
        fs::write(cache.folder.join(old.to_string()), b"sp1memo2 and more").unwrap();
        let forget = || cache.forget_inputs(&BTreeSet::from([Digest::of(b"first input").to_string()])).unwrap();
        assert_eq!(forget(), 2);
        assert_eq!((found(&cache, one), found(&cache, two).unwrap()), (None, b"second".to_vec()));
        assert!(!cache.folder.join(one.to_string()).exists() && !cache.folder.join(old.to_string()).exists());
        assert_eq!(forget(), 0);
        // The removed files no longer count.
        assert_eq!(stored(&cache), file_format::file_bytes(&result_for(b"second input", b"second")).unwrap());
        drop((cache, folder));
    }

    #[test]
    fn restored_older_database_clears_the_cache() {
        let (_folder, cache) = cache(1 << 20);
        let key = Digest::of(b"one");
        let start = |number| {
            let start = cache.plan_start(number).unwrap();
            cache.record_start(&start).unwrap();
            start.lineage
        };
        let mut lineages = Vec::new();
        for number in 1..=3 {
            lineages.push(start(number));
            assert_eq!(found(&cache, key).is_some(), number > 1);
            cache.keep(key, result(b"content"));
        }
        assert!(lineages.iter().all(|lineage| *lineage == lineages[0] && *lineage != [0; 16]));
        // A plan alone changes nothing.
        cache.plan_start(2).unwrap();
        assert!(found(&cache, key).is_some());
        assert_ne!(start(2), lineages[0]);
        assert_eq!(found(&cache, key), None);
    }

    #[test]
    fn start_that_cannot_be_written_keeps_everything() {
        let (folder, cache) = cache(1 << 20);
        let key = Digest::of(b"one");
        let first = cache.plan_start(1).unwrap();
        cache.record_start(&first).unwrap();
        cache.keep(key, result(b"content"));
        // The folder takes no new file, as on a full disk.
        let moved = folder.path().join("moved");
        fs::rename(&cache.folder, &moved).unwrap();
        let second = CacheStart { start: 2, ..first };
        assert!(cache.record_start(&second).is_err());
        fs::rename(&moved, &cache.folder).unwrap();
        let second = cache.plan_start(2).unwrap();
        assert_eq!(second.lineage, first.lineage);
        cache.record_start(&second).unwrap();
        assert!(found(&cache, key).is_some());
    }

    #[test]
    fn damaged_file_is_ignored_and_removed() {
        let (_folder, cache) = cache(1 << 20);
        let key = Digest::of(b"one");
        cache.keep(key, result(b"first"));
        let path = cache.folder.join(key.to_string());
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(found(&cache, key), None);
        assert!(!path.exists());
        cache.keep(key, result(b"first"));
        assert!(found(&cache, key).is_some());
    }

    #[test]
    fn size_limit_holds_after_every_result() {
        let folder = tempfile::tempdir().unwrap();
        let length = file_format::file_bytes(&result(b"content")).unwrap();
        let limit = 3 * length + length / 2;
        let cache = open(folder.path(), limit, 0);
        let keys: Vec<Digest> = (0_u8..6).map(|key| Digest::of(&[key])).collect();
        for key in &keys {
            cache.keep(*key, result(b"content"));
            // Used after each other result, so it stays.
            assert!(found(&cache, keys[0]).is_some());
            assert!(stored(&cache) <= limit, "{} of {limit} bytes", stored(&cache));
        }
        let kept: Vec<bool> = keys.iter().map(|key| cache.folder.join(key.to_string()).exists()).collect();
        assert_eq!(kept, [true, false, false, false, true, true]);
        // A result that is larger than the cache, because it does not compress.
        let mut large = vec![0; 10_000];
        blake3::Hasher::new().finalize_xof().fill(&mut large);
        cache.keep(Digest::of(b"large"), result(&large));
        assert!(found(&cache, Digest::of(b"large")).is_none() && found(&cache, keys[5]).is_some());
        // Another process with a smaller limit, after a process that did not finish a file.
        fs::write(cache.folder.join(".part-1"), vec![0; 10_000]).unwrap();
        let cache = open(folder.path(), length, 0);
        assert!(stored(&cache) <= length, "{}", stored(&cache));
    }

    #[test]
    fn request_that_needs_disk_space_gets_that_of_cached_results() {
        let (folder, cache) = cache(1 << 20);
        let key = Digest::of(b"one");
        cache.keep(key, result(b"content"));
        drop(cache);
        // All free space is too little, so that every reservation asks for more.
        let cache = open(folder.path(), 1 << 20, u64::MAX);
        assert!(found(&cache, key).is_some());
        assert!(cache.space.reserve(1).is_none());
        assert_eq!((found(&cache, key), stored(&cache)), (None, 0));
    }

    #[test]
    fn disabled_cache_and_nearly_full_disk_store_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let key = Digest::of(b"a");
        for (limit, min_free, kept) in [(1 << 20, 0, true), (0, 0, false), (1 << 20, u64::MAX, false)] {
            let cache = open(&folder.path().join(format!("{limit}-{min_free}")), limit, min_free);
            cache.keep(key, result(b"content"));
            assert_eq!(found(&cache, key).is_some(), kept);
        }
    }
}
