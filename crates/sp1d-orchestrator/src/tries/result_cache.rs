//! The result cache: results of finished shards, which a restarted orchestrator or a repeated proof need not prove
//! again.

use sp1d_artifacts::{Blob, Digest};

/// A cached result of a shard, compressed as the worker has sent it.
#[derive(Debug, Clone)]
pub struct CachedResult {
    /// BLAKE3 digest of the input of the proof that the result was made for. Results contain parts of the input, so
    /// they are removed when the input is deleted.
    pub input_digest: Digest,
    /// The result of the shard's task.
    pub output: Blob,
    /// The uploaded deferred events and their list, by name. The list is named `#1`, because its name differs from
    /// proof to proof.
    pub event_uploads: Vec<(String, Blob)>,
}

/// A result cache: stores results by the digest of everything on which they depend. Its methods are called on threads
/// that may block.
///
/// A cached result is checked like a result of a worker. A wrong result costs only the check. Wrong deferred events can
/// pass the check. They can then cost a restart without cached results.
pub trait ResultCache: Send + Sync + 'static {
    /// Returns the result under `key`; `None` if it does not exist or cannot be read.
    fn find(&self, key: Digest) -> Option<CachedResult>;

    /// Stores a result. The caller does not need to know whether this succeeds.
    fn keep(&self, key: Digest, result: CachedResult);

    /// Returns false if the cache never stores a result, so that callers can skip work that only serves it. The default
    /// implementation returns true.
    fn stores_results(&self) -> bool {
        true
    }

    /// Removes results, because something that was built on them turned out to be wrong.
    fn forget(&self, keys: &[Digest]);
}
