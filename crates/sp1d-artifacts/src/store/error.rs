//! Errors of the store.

use super::limits::size;
use std::path::PathBuf;

/// Why the store does not accept an artifact, or cannot return it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The scope has an artifact of this name with different content. Artifacts are immutable.
    #[error("artifact {0} already exists with different content")]
    Exists(String),
    /// Neither memory nor disk has room. A retry fails as well until other artifacts are removed, so the operation that
    /// needs this artifact must be given up.
    #[error("there is no room for artifact {name} ({}): {reason}", size(*.bytes))]
    Full {
        /// Name of the artifact that was not stored.
        name: String,
        /// Its compressed size in bytes.
        bytes: u64,
        /// Which budget is used up, and what to do about it.
        reason: String,
    },
    /// The spill folder cannot be created.
    #[error("cannot create a folder for spilled artifacts in {}: {reason}\nhint: make it writable, or name another folder in the setting `spill_folder`", path.display())]
    Folder {
        /// The folder in which it should be created.
        path: PathBuf,
        /// The error of the operating system.
        reason: String,
    },
    /// A spilled artifact cannot be read back.
    #[error("cannot read back the artifact that was spilled to {}: {reason}\nhint: check whether another program changes files there, and whether the disk has errors", path.display())]
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// What is wrong with the file.
        reason: String,
    },
}
