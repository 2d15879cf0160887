//! Why the archive cannot be written or read.

use super::place::ArchivePlace;
use crate::state::{BlobError, DatabaseError, StateError};
use sp1d_model::{Moment, counted};
use std::{io, path::PathBuf};

/// Why the archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A setting of the object store is missing or not valid.
    #[error("the object store cannot be used: {0}")]
    Settings(String),
    /// The archive cannot be reached, or responded with an error.
    #[error("the archive {place} cannot be used: {reason}")]
    Unavailable {
        /// Where the archive is.
        place: ArchivePlace,
        /// What failed.
        reason: String,
    },
    /// Another process replaced the manifest.
    #[error(
        "another process has claimed the archive\nhint: only one service may use a state folder or a copy of it; stop the other one, then restart this service"
    )]
    Replaced,
    /// The archive belongs to another state folder.
    #[error(
        "the archive {place} belongs to another state folder\nhint: choose another place with `--archive`; to continue with the state in the archive, run `sp1d restore --archive {place} --state NEW_FOLDER`"
    )]
    Foreign {
        /// Where the archive is.
        place: ArchivePlace,
    },
    /// The archive is newer than the state folder.
    #[error(
        "the archive {place} has a copy of {at}, which is newer than this state folder\nhint: the folder is an old copy; run `sp1d restore --archive {place} --state NEW_FOLDER`, or choose another place with `--archive`"
    )]
    Newer {
        /// Where the archive is.
        place: ArchivePlace,
        /// When the copy was made.
        at: Moment,
    },
    /// The object store ignores the conditions of a request.
    #[error(
        "the object store of {place} ignores the condition `{header}`, so two services could archive to one place\nhint: use a store that supports conditional writes"
    )]
    Unconditional {
        /// Where the archive is.
        place: ArchivePlace,
        /// Header of the condition.
        header: &'static str,
    },
    /// The archive contains no state.
    #[error("the archive {place} contains no state\nhint: check the bucket and the prefix")]
    Empty {
        /// Where the archive is.
        place: ArchivePlace,
    },
    /// A file of the archive is missing or not valid.
    #[error("the file {name} of the archive {reason}")]
    Damaged {
        /// Name in the archive.
        name: String,
        /// What is wrong, as the end of a sentence.
        reason: String,
    },
    /// Files that the state needs are not in the archive.
    #[error(
        "the archive lacks {} that the state needs, for example {example}\nhint: `--incomplete` restores the rest; proofs that need the missing files fail, and missing results cannot be fetched",
        counted(*count, "file")
    )]
    Incomplete {
        /// Number of missing files.
        count: usize,
        /// Name of one of them.
        example: String,
    },
    /// The folder to restore into is not empty.
    #[error("the folder {} is not empty\nhint: restore into a new folder", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A file of this machine cannot be read or written.
    #[error("cannot use {}: {reason}", path.display())]
    Local {
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        reason: io::Error,
    },
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The database cannot be copied, or the copy cannot be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A blob cannot be read or stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl ArchiveError {
    /// Returns true if only a person can remove the cause, so that trying again is useless.
    pub(super) const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Replaced
                | Self::Foreign { .. }
                | Self::Newer { .. }
                | Self::Unconditional { .. }
                | Self::Damaged { .. }
        )
    }
}
