//! Why a service cannot start.

use crate::{
    archive::ArchiveError,
    state::{BlobError, DatabaseError, StateError},
};

/// Why a service cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The state folder is in use or not writable.
    #[error(transparent)]
    State(#[from] StateError),
    /// The database cannot be opened or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The folder of programs, inputs and finished proofs cannot be opened.
    #[error(
        "cannot open the state folder: {0}\nhint: check the permissions and the free space of the folder, or choose another one with `--state`"
    )]
    Blobs(#[from] BlobError),
    /// The state folder may not archive to the chosen place, or the settings of the object store are not valid.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}
