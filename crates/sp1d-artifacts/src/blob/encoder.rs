//! Compresses bytes into chunks.

use super::{Blob, CHUNK_BYTES, Chunk};
use crate::Digest;
use bytes::Bytes;
use std::{
    iter,
    num::NonZero,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Encodes bytes as chunks, one at a time, so that a sender never holds all compressed chunks.
pub struct Encoder<'a> {
    rest: &'a [u8],
    hasher: blake3::Hasher,
}

impl<'a> Encoder<'a> {
    /// Returns an iterator over the chunks of `content`.
    #[must_use]
    pub fn new(content: &'a [u8]) -> Self {
        Self { rest: content, hasher: blake3::Hasher::new() }
    }

    /// Returns the digest of the bytes encoded so far. Once the iterator has ended, it is the digest of the whole
    /// content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.hasher.finalize().into()
    }
}

impl Iterator for Encoder<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.rest.is_empty() {
            return None;
        }
        let (content, rest) = self.rest.split_at(self.rest.len().min(CHUNK_BYTES));
        self.rest = rest;
        self.hasher.update(content);
        Some(Chunk::encode(content))
    }
}

/// Threads that compress one blob, at most. More would take the cores from other blobs.
const MAX_THREADS: usize = 4;

/// Content below this size is compressed by the calling thread alone. Starting a thread takes about 30 µs.
const PARALLEL_BYTES: usize = 4 * CHUNK_BYTES;

/// Returns the number of threads for content of `len` bytes, the calling one included.
fn threads(len: usize) -> usize {
    static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));
    if len < PARALLEL_BYTES { 1 } else { MAX_THREADS.min(*CORES) }
}

/// Compresses the chunks of one content on several threads.
struct ChunkCompression<'a> {
    content: &'a [u8],
    /// The number of the next chunk that no thread has taken.
    next: AtomicUsize,
}

impl ChunkCompression<'_> {
    /// Compresses chunks until none is left. Returns their numbers with them; `None` is a chunk that stays raw.
    fn compress(&self) -> Vec<(usize, Option<Chunk>)> {
        let take = || self.next.fetch_add(1, Ordering::Relaxed);
        let chunk = |number: usize| self.content.chunks(CHUNK_BYTES).nth(number);
        iter::from_fn(|| {
            let number = take();
            Some((number, Chunk::compressed(chunk(number)?)))
        })
        .collect()
    }
}

impl Blob {
    /// Compresses `content`. This takes about 4 ms of processor time per megabyte, on several threads if the content is
    /// large. So do not call it on an asynchronous thread.
    #[must_use]
    pub fn encode_owned(content: Vec<u8>) -> Self {
        let is_tight = content.capacity() - content.len() <= content.len() / 16;
        let content = Bytes::from(content);
        let compression = ChunkCompression { content: &content, next: AtomicUsize::new(0) };
        let (digest, mut chunks) = thread::scope(|scope| {
            let start = |_| thread::Builder::new().spawn_scoped(scope, || compression.compress()).ok();
            // If no thread can be started, this one compresses all chunks.
            let others: Vec<_> = (1..threads(content.len())).map_while(start).collect();
            let digest = Digest::of(&content);
            let mut chunks = compression.compress();
            chunks.extend(others.into_iter().flat_map(|other| other.join().expect("compression does not panic")));
            (digest, chunks)
        });
        chunks.sort_unstable_by_key(|(number, _)| *number);
        // Slices keep the whole content in memory, with its unused capacity. So they are only for content of which
        // nothing was compressed.
        let is_raw = is_tight && chunks.iter().all(|(_, compressed)| compressed.is_none());
        let raw = |number: usize| {
            let start = number * CHUNK_BYTES;
            let range = start..content.len().min(start + CHUNK_BYTES);
            Chunk::raw(if is_raw { content.slice(range) } else { Bytes::copy_from_slice(&content[range]) })
        };
        let chunks = chunks.into_iter().map(|(number, compressed)| compressed.unwrap_or_else(|| raw(number)));
        Self::new(digest, content.len() as u64, chunks.collect())
    }

    /// Does the same for borrowed content, on the calling thread.
    #[must_use]
    pub fn encode(content: &[u8]) -> Self {
        let mut encoder = Encoder::new(content);
        let chunks = encoder.by_ref().collect();
        Self::new(encoder.digest(), content.len() as u64, chunks)
    }
}
