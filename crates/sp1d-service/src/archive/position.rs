//! How far an archive is.

use serde::{Deserialize, Serialize};

/// How far an archive is: the number of starts that have archived, and the number of manifests written. Both only grow
/// for one state folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ArchivePosition {
    pub(super) generation: u64,
    pub(super) sequence: u64,
}
