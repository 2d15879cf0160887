//! The result cache on disk. A restarted service does not prove tasks again whose results are in it.

use super::disk::has_less_than;
use sp1d_artifacts::Digest;
use sp1d_orchestrator::{CachedResult, ResultCache};
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};
use tempfile::NamedTempFile;

/// File with the number of the service's last start, in decimal digits.
const STARTS: &str = "starts";

/// File with the [`ServiceLineage`].
const LINEAGE: &str = "lineage";

/// Random id that a service sends to its workers and keeps over restarts. A worker that sees the same id again
/// continues the attempts that an earlier process of the service assigned.
pub(crate) type ServiceLineage = [u8; 16];

/// First bytes of each file. A changed file format must use different bytes.
const MAGIC: &[u8; 8] = b"sp1memo1";

/// Compression level of zstd: fast, and still shrinks records and events to a quarter.
const LEVEL: i32 = 1;

/// The result cache: one file for each key. Format of a file:
///
/// ```text
///   MAGIC, blake3 digest of the rest of the file,
///   zstd of { count: u32, then for each part: name length: u32, name, content length: u64, content }
/// ```
///
/// The first part is the first output of the task and has an empty name. The other parts are the artifacts that the
/// task uploaded for its marker. Numbers are little-endian. A damaged file is ignored and removed.
pub(crate) struct DiskResultCache {
    folder: PathBuf,
    /// Maximum size of all files in bytes; 0 disables the cache. `clean` enforces the limit.
    limit: u64,
    /// Free disk space in bytes below which no result is stored, because accepted proofs need this space more.
    free_bytes: u64,
}

impl DiskResultCache {
    pub(crate) fn open(folder: PathBuf, limit: u64, free_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, limit, free_bytes })
    }

    /// Records that the service's start number `start` uses the cache, and returns the lineage.
    ///
    /// If the cache has already seen this start or a later one, the database was restored from an older copy. Then the
    /// service assigns the same attempt numbers again, which occur in the names of cached artifacts. Therefore all
    /// results are removed, and the lineage is a new one.
    pub(crate) fn record_start(&self, start: u64) -> io::Result<ServiceLineage> {
        let path = self.folder.join(STARTS);
        let last = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().unwrap_or(u64::MAX),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if last >= start {
            tracing::warn!(folder = %self.folder.display(), "the database is older than the result cache; all cached results are removed");
            fs::remove_dir_all(&self.folder)?;
            fs::create_dir_all(&self.folder)?;
        }
        fs::write(&path, start.to_string())?;
        self.lineage()
    }

    fn lineage(&self) -> io::Result<ServiceLineage> {
        let path = self.folder.join(LINEAGE);
        match fs::read(&path).map(ServiceLineage::try_from) {
            Ok(Ok(lineage)) => return Ok(lineage),
            Ok(Err(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut lineage = ServiceLineage::default();
        getrandom::fill(&mut lineage).map_err(io::Error::other)?;
        fs::write(&path, lineage)?;
        Ok(lineage)
    }

    fn path(&self, key: Digest) -> PathBuf {
        self.folder.join(key.to_string())
    }

    fn write(&self, key: Digest, result: &CachedResult) -> io::Result<()> {
        let packed = zstd::encode_all(&*pack(result), LEVEL)?;
        let mut file = NamedTempFile::with_prefix_in(".part-", &self.folder)?;
        file.write_all(MAGIC)?;
        file.write_all(blake3::hash(&packed).as_bytes())?;
        file.write_all(&packed)?;
        // Not synced: a result that is lost in a power failure is proven again.
        file.persist(self.path(key))?;
        Ok(())
    }

    /// Removes the least recently used results until all files together are within the limit. Blocks.
    pub(crate) fn clean(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter(|entry| entry.file_name() != STARTS && entry.file_name() != LINEAGE)
            .filter_map(|entry| {
                let described = entry.metadata().ok()?;
                Some((described.modified().ok()?, described.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut all: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in files {
            if all <= self.limit {
                return;
            }
            all -= length;
            remove(&path);
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

fn pack(result: &CachedResult) -> Vec<u8> {
    let parts = result.marker_uploads.iter().map(|(name, content)| (name.as_str(), content));
    let parts: Vec<(&str, &Vec<u8>)> = std::iter::once(("", &result.output)).chain(parts).collect();
    let length = |length: usize| u32::try_from(length).expect("a task delivers few parts, and their names are short");
    let mut packed = length(parts.len()).to_le_bytes().to_vec();
    for (name, content) in parts {
        packed.extend(length(name.len()).to_le_bytes());
        packed.extend(name.as_bytes());
        packed.extend((content.len() as u64).to_le_bytes());
        packed.extend(content);
    }
    packed
}

/// Reads the format that [`pack`] writes. `None` for invalid bytes.
fn unpack(mut packed: &[u8]) -> Option<CachedResult> {
    fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = from.split_at_checked(length)?;
        *from = rest;
        Some(taken)
    }
    let count = u32::from_le_bytes(take(&mut packed, 4)?.try_into().ok()?);
    let mut parts = Vec::new();
    for _ in 0..count {
        let length = u32::from_le_bytes(take(&mut packed, 4)?.try_into().ok()?);
        let name = String::from_utf8(take(&mut packed, length as usize)?.to_vec()).ok()?;
        let length = u64::from_le_bytes(take(&mut packed, 8)?.try_into().ok()?);
        parts.push((name, take(&mut packed, usize::try_from(length).ok()?)?.to_vec()));
    }
    let mut parts = parts.into_iter();
    let (_, output) = parts.next()?;
    packed.is_empty().then(|| CachedResult { output, marker_uploads: parts.collect() })
}

/// Reads a result from its file. `None` if the file is missing, incomplete or damaged.
fn read(path: &Path) -> Option<CachedResult> {
    let content = fs::read(path).ok()?;
    let rest = content.strip_prefix(MAGIC)?;
    let (digest, packed) = rest.split_at_checked(blake3::OUT_LEN)?;
    if blake3::hash(packed).as_bytes() != digest {
        return None;
    }
    unpack(&zstd::decode_all(packed).ok()?)
}

impl ResultCache for DiskResultCache {
    fn find(&self, key: Digest) -> Option<CachedResult> {
        let path = self.path(key);
        if !path.exists() {
            return None;
        }
        let found = read(&path);
        if found.is_none() {
            tracing::warn!(path = %path.display(), "a cached result is damaged and is removed");
            remove(&path);
        } else if let Ok(file) = fs::File::open(&path) {
            // Updates the time of the last use, by which `clean` chooses the files to remove.
            let _ = file.set_modified(SystemTime::now());
        }
        found
    }

    fn keep(&self, key: Digest, result: CachedResult) {
        if self.limit == 0 {
            return;
        }
        if has_less_than(&self.folder, self.free_bytes) {
            tracing::warn!(folder = %self.folder.display(), "the disk is nearly full; a result is not cached, and a restart would prove it again");
            return;
        }
        if let Err(error) = self.write(key, &result) {
            tracing::warn!(folder = %self.folder.display(), %error, "cannot cache a result; a restart would prove it again");
        }
    }

    fn keeps(&self) -> bool {
        self.limit > 0
    }

    fn forget(&self, keys: &[Digest]) {
        keys.iter().for_each(|key| remove(&self.path(*key)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(limit: u64) -> (tempfile::TempDir, DiskResultCache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskResultCache::open(folder.path().join("memo"), limit, 0).unwrap();
        (folder, cache)
    }

    fn result(content: &[u8]) -> CachedResult {
        CachedResult {
            output: content.to_vec(),
            marker_uploads: vec![("#1".into(), vec![1]), ("made-1-x".into(), vec![])],
        }
    }

    #[test]
    fn stored_results_are_found_until_forgotten() {
        let (folder, cache) = cache(1 << 20);
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        assert_eq!(cache.find(one), None);
        cache.keep(one, result(b"first"));
        cache.keep(two, result(b"second"));
        let again = DiskResultCache::open(folder.path().join("memo"), 1 << 20, 0).unwrap();
        assert_eq!((again.find(one), again.find(two)), (Some(result(b"first")), Some(result(b"second"))));
        again.forget(&[one]);
        assert_eq!((again.find(one), again.find(two)), (None, Some(result(b"second"))));
    }

    #[test]
    fn restored_older_database_clears_the_cache() {
        let (_folder, cache) = cache(1 << 20);
        let key = Digest::of(b"one");
        let mut lineages = Vec::new();
        for start in 1..=3 {
            lineages.push(cache.record_start(start).unwrap());
            assert_eq!(cache.find(key).is_some(), start > 1);
            cache.keep(key, result(b"content"));
        }
        assert!(lineages.iter().all(|lineage| *lineage == lineages[0] && *lineage != ServiceLineage::default()));
        assert_ne!(cache.record_start(2).unwrap(), lineages[0]);
        assert_eq!(cache.find(key), None);
    }

    #[test]
    fn damaged_file_is_ignored_and_removed() {
        let (_folder, cache) = cache(1 << 20);
        let key = Digest::of(b"one");
        cache.keep(key, result(b"first"));
        let whole = fs::read(cache.path(key)).unwrap();
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            for content in [&other[..], &whole[..at]] {
                fs::write(cache.path(key), content).unwrap();
                assert_eq!(cache.find(key), None, "byte {at}");
                assert!(!cache.path(key).exists());
            }
        }
        assert_eq!((unpack(&[1, 0, 0, 0, 255, 255, 255, 255]), unpack(&[])), (None, None));
    }

    #[test]
    fn clean_removes_the_least_recently_used_results() {
        let (_folder, cache) = cache(300);
        let keys: Vec<Digest> = (0_u8..6).map(|key| Digest::of(&[key])).collect();
        for (at, key) in keys.iter().enumerate() {
            cache.keep(*key, result(b"content"));
            let file = fs::File::open(cache.path(*key)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(at as u64)).unwrap();
        }
        let length = fs::metadata(cache.path(keys[0])).unwrap().len();
        assert!(cache.find(keys[0]).is_some());
        let lineage = cache.lineage().unwrap();
        cache.clean();
        assert_eq!(cache.lineage().unwrap(), lineage);
        let kept: Vec<bool> = keys.iter().map(|key| cache.path(*key).exists()).collect();
        let room = usize::try_from(300 / length).unwrap();
        assert!(kept[0] && kept[5] && !kept[1], "{kept:?}");
        assert_eq!(kept.iter().filter(|kept| **kept).count(), room);
    }

    #[test]
    fn disabled_cache_and_nearly_full_disk_store_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let key = Digest::of(b"a");
        for (limit, free_bytes, kept) in [(1 << 20, 0, true), (0, 0, false), (1 << 20, u64::MAX, false)] {
            let cache =
                DiskResultCache::open(folder.path().join(format!("{limit}-{free_bytes}")), limit, free_bytes).unwrap();
            cache.keep(key, result(b"content"));
            assert_eq!(cache.find(key).is_some(), kept);
        }
    }
}
