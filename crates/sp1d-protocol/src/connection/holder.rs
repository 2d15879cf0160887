//! Which orchestrator has a worker, as the worker tells others.

use sp1d_artifacts::Digest;
use std::fmt;

/// Number of bytes of a [`HolderId`].
const HOLDER_ID_BYTES: usize = 16;

/// Identifies the orchestrator that has a worker: the start of the digest of the id that it sends in its hello reply.
/// With the id itself, another orchestrator could claim the attempts that the worker keeps for this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HolderId([u8; HOLDER_ID_BYTES]);

impl HolderId {
    /// Returns the identity of the orchestrator that has this id in its hello reply.
    #[must_use]
    pub fn of(orchestrator: &[u8]) -> Self {
        let mut id = [0; HOLDER_ID_BYTES];
        id.copy_from_slice(&Digest::of(orchestrator).as_bytes()[..HOLDER_ID_BYTES]);
        Self(id)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; HOLDER_ID_BYTES] {
        &self.0
    }

    /// Returns the identity that consists of `bytes`, as received from a worker. `None` unless there are exactly 16.
    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        <[u8; HOLDER_ID_BYTES]>::try_from(bytes).ok().map(Self)
    }

    /// Returns the identity at the start of `bytes`, and the bytes after it. `None` if there are fewer than 16.
    pub(super) fn split_from(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (id, rest) = bytes.split_first_chunk::<HOLDER_ID_BYTES>()?;
        Some((Self(*id), rest))
    }
}

/// A worker that does not take a dialer, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BusyWorker {
    /// Says what the worker does: for example which orchestrator it serves, and for how long. For people.
    pub text: String,
    /// The orchestrator that it serves; `None` if it serves none, or if that orchestrator has not introduced itself.
    pub holder: Option<HolderId>,
}

impl fmt::Display for BusyWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
