//! The errors of the database.

use super::schema::{OLDEST_VERSION, SCHEMA_VERSION};
use rusqlite::ErrorCode;
use std::path::PathBuf;

/// Why the database cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A newer release wrote the database.
    #[error("the database {} was written by a newer release of sp1d: its version is {found}, this release supports {SCHEMA_VERSION}\nhint: run the newer release, or choose another state folder with `--state`", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Version of the tables in the file.
        found: i32,
    },
    /// An older build wrote the database, in a form that this release cannot read, or cannot upgrade while a service
    /// may be using the database.
    #[error("the database {} was written by an older build of sp1d: its version is {found}, this release supports {SCHEMA_VERSION}\nhint: start `sp1d serve` of this release with this state folder, which upgrades a database of version {OLDEST_VERSION}; with a database of a lower version, run the older build until its proofs have ended, then choose another state folder with `--state`", path.display())]
    Older {
        /// The database file.
        path: PathBuf,
        /// Version of the tables in the file.
        found: i32,
    },
    /// The file is an SQLite database of another program.
    #[error("{} is not a database of sp1d\nhint: choose another state folder with `--state`", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// The file is damaged, or is not an SQLite database.
    #[error("the database {} is damaged: {reason}\nhint: restore a backup, or move the state folder away to start without the accepted proofs", path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// The message of SQLite.
        reason: String,
    },
    /// The database is missing or empty although the state folder was used before.
    #[error("the database {} is missing or empty, but the state folder was used before\nhint: restore a backup, or move the state folder away to start without the accepted proofs", path.display())]
    Missing {
        /// The database file.
        path: PathBuf,
    },
    /// Another program has locked the database.
    #[error(
        "another program has locked the database of the service\nhint: end the backup or the program that has opened `service.db` in the state folder"
    )]
    Locked,
    /// The disk is full.
    #[error("the disk with the database is full")]
    Full,
    /// Any other error of SQLite.
    #[error("the database failed: {0}")]
    Other(rusqlite::Error),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            _ => Self::Other(error),
        }
    }
}

impl DatabaseError {
    /// Returns true if the same call can succeed later, without a repair.
    pub(crate) const fn is_temporary(&self) -> bool {
        matches!(self, Self::Full | Self::Locked)
    }
}

/// Result of a database call.
pub(super) type Result<T, E = DatabaseError> = std::result::Result<T, E>;

/// Converts an error of SQLite, with `damaged` if it means that the file is damaged or not an SQLite database.
pub(super) fn by_damage(error: rusqlite::Error, damaged: impl Fn(String) -> DatabaseError) -> DatabaseError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damaged(error.to_string()),
        _ => error.into(),
    }
}
