//! Makes an entry of the result cache from a result.

use super::{result_cache::CachedResult, submitted_task::DeferredEventUploads};
use crate::runner::task::TaskSpec;
use sp1d_artifacts::{Digest, Stored};

/// Name of the list of deferred events in a cached result. It is part of the file format of the service's cache.
pub(crate) const EVENT_LIST: &str = "#1";

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum compressed size of a cached result. It is held in memory as a whole while it is stored or used. The
    /// events of a core shard usually have some megabytes.
    const MAX_CACHED_BYTES: u64 = 256 << 20; Bytes by Worker;
}

/// Returns the cached form of the result of `spec`, which belongs to a proof of the input with this digest. The result
/// is not compressed again. `None` if it is larger than [`MAX_CACHED_BYTES`], or if a part was spilled and cannot be
/// read back. Blocks.
pub(crate) fn cached_result(
    spec: &TaskSpec,
    input_digest: Digest,
    output: Stored,
    uploads: DeferredEventUploads,
) -> Option<CachedResult> {
    let uploaded: u64 = uploads.iter().map(|(_, stored)| stored.stored_bytes()).sum();
    if output.stored_bytes() + uploaded > MAX_CACHED_BYTES {
        return None;
    }
    let read = |stored: Stored| stored.load().ok();
    let event_list = spec.payload.marker().map(|marker| &marker.event_list);
    let renamed = |name: String| if event_list == Some(&name) { EVENT_LIST.to_owned() } else { name };
    let uploads = uploads.into_iter().map(|(name, stored)| Some((renamed(name), read(stored)?)));
    Some(CachedResult { input_digest, output: read(output)?, event_uploads: uploads.collect::<Option<_>>()? })
}
