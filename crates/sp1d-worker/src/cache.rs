//! A cache of artifacts that several tasks use: programs and common inputs.

use sp1d_artifacts::{Blob, Digest};
use std::collections::{HashMap, VecDeque};

/// Blobs by digest. When the cache is full, the blobs that were added first are removed first.
#[derive(Debug)]
pub(crate) struct Cache {
    blobs: HashMap<Digest, Blob>,
    order: VecDeque<Digest>,
    bytes: u64,
    limit_bytes: u64,
}

impl Cache {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { blobs: HashMap::new(), order: VecDeque::new(), bytes: 0, limit_bytes }
    }

    pub(crate) fn get(&self, digest: Digest) -> Option<Blob> {
        self.blobs.get(&digest).cloned()
    }

    /// Adds `blob`, and removes the oldest blobs beyond the limit. Does not add a blob that alone exceeds the limit.
    pub(crate) fn put(&mut self, blob: Blob) {
        let size = blob.stored_bytes();
        if size > self.limit_bytes || self.blobs.contains_key(&blob.digest()) {
            return;
        }
        self.bytes += size;
        self.order.push_back(blob.digest());
        self.blobs.insert(blob.digest(), blob);
        while self.bytes > self.limit_bytes {
            let Some(oldest) = self.order.pop_front() else { break };
            self.forget(oldest);
        }
    }

    /// Removes a blob, for example because it is corrupt.
    pub(crate) fn forget(&mut self, digest: Digest) {
        if let Some(blob) = self.blobs.remove(&digest) {
            self.bytes -= blob.stored_bytes();
            self.order.retain(|kept| *kept != digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_blob_is_removed_beyond_the_limit() {
        let blob = |byte: u8| Blob::encode(&blake3_noise(byte));
        let (a, b, c) = (blob(1), blob(2), blob(3));
        let mut cache = Cache::new(a.stored_bytes() * 2);
        cache.put(a.clone());
        cache.put(a.clone());
        cache.put(b.clone());
        assert!(cache.get(a.digest()).is_some(), "the same blob twice counts once");
        cache.put(c.clone());
        assert!(cache.get(a.digest()).is_none());
        assert!(cache.get(b.digest()).is_some() && cache.get(c.digest()).is_some());
        cache.forget(b.digest());
        cache.put(a.clone());
        assert!(cache.get(a.digest()).is_some() && cache.get(c.digest()).is_some());
    }

    /// Returns incompressible bytes, so that all blobs have the same size.
    fn blake3_noise(byte: u8) -> Vec<u8> {
        (0..32).flat_map(|at| *Digest::of(&[byte, at]).as_bytes()).collect()
    }
}
