//! Compresses the chunks of one content on several threads.

use super::{CHUNK_BYTES, Chunk};
use crate::Digest;
use std::{
    iter,
    num::NonZero,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Threads that compress one blob, at most. More would take the cores from other blobs.
const MAX_THREADS: usize = 4;

/// Content below this size is compressed by the calling thread alone. Starting a thread takes about 30 µs.
const PARALLEL_BYTES: usize = 4 * CHUNK_BYTES;

/// Returns the number of threads for content of `len` bytes, the calling one included.
fn threads(len: usize) -> usize {
    static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));
    if len < PARALLEL_BYTES { 1 } else { MAX_THREADS.min(*CORES) }
}

/// The compression of the chunks of one content, which several threads share.
pub(super) struct ChunkCompression<'a> {
    content: &'a [u8],
    /// The number of the next chunk that no thread has taken.
    next: AtomicUsize,
}

impl<'a> ChunkCompression<'a> {
    pub(super) const fn new(content: &'a [u8]) -> Self {
        Self { content, next: AtomicUsize::new(0) }
    }

    /// Returns the digest of the content, and its chunks in order. `None` is a chunk that stays raw.
    pub(super) fn run(self) -> (Digest, Vec<Option<Chunk>>) {
        let (digest, mut chunks) = thread::scope(|scope| {
            let start = |_| thread::Builder::new().spawn_scoped(scope, || self.compress()).ok();
            // If no thread can be started, this one compresses all chunks.
            let others: Vec<_> = (1..threads(self.content.len())).map_while(start).collect();
            let digest = Digest::of(self.content);
            let mut chunks = self.compress();
            chunks.extend(others.into_iter().flat_map(|other| other.join().expect("compression does not panic")));
            (digest, chunks)
        });
        chunks.sort_unstable_by_key(|(number, _)| *number);
        (digest, chunks.into_iter().map(|(_, chunk)| chunk).collect())
    }

    /// Compresses chunks until none is left. Returns their numbers with them.
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
