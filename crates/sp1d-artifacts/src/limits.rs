//! The limits of blobs and of the store, for the table of limits.

use crate::{blobs::CHUNK_LIMITS, store::STORE_LIMITS};
use sp1d_model::Limit;

/// Returns the limits that the other side of a connection can reach.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    [CHUNK_LIMITS, STORE_LIMITS].into_iter().flatten()
}
