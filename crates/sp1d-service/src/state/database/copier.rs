//! Copies the database while it is in use.

use super::{
    error::{DatabaseError, Result},
    garbage::needed_blobs,
};
use rusqlite::{Connection, OpenFlags};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a copy waits while another program has locked the database.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(2);

/// Makes consistent copies of the database. It has a connection of its own, so that neither reads nor writes wait.
pub(crate) struct DatabaseCopier {
    path: PathBuf,
    /// `None` until the first call that succeeds. On a full disk, the service has the database for itself.
    connection: Option<Connection>,
}

impl DatabaseCopier {
    /// Copies the database at `path`. Opens nothing yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, connection: None }
    }

    fn connection(&mut self) -> Result<&Connection> {
        if self.connection.is_none() {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(MAX_LOCK_WAIT)?;
            self.connection = Some(connection);
        }
        Ok(self.connection.as_ref().expect("it was just set"))
    }

    /// Returns a number that changes when another connection has changed the database. Blocks.
    pub(crate) fn version(&mut self) -> Result<i64> {
        Ok(self.connection()?.pragma_query_value(None, "data_version", |row| row.get(0))?)
    }

    /// Writes a copy to the new file `target`, and returns the digests of the blobs that the copy refers to. Writers
    /// can commit meanwhile; the copy does not contain their changes. Blocks.
    pub(crate) fn copy_to(&mut self, target: &Path) -> Result<HashSet<String>> {
        let invalid = || DatabaseError::Other(rusqlite::Error::InvalidPath(target.to_owned()));
        self.connection()?.execute("VACUUM INTO ?1", [target.to_str().ok_or_else(invalid)?])?;
        let copy = Connection::open_with_flags(target, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        needed_blobs(&copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::database::Database;
    use sp1d_model::{Moment, ProgramSummary};

    #[test]
    fn copy_is_a_database_of_its_own_and_its_version_follows_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("service.db"), folder.path().join("copy.db"));
        let database = Database::open(&path, true).unwrap();
        let program = "0a".repeat(32);
        let added = ProgramSummary { id: program.clone(), bytes: 7, verifying_key: None, created: Moment(1) };
        database.add_program("default", &added).unwrap();
        let mut copier = DatabaseCopier::new(path);
        let version = copier.version().unwrap();
        assert_eq!(copier.version().unwrap(), version, "nothing has changed");
        assert_eq!(copier.copy_to(&target).unwrap(), HashSet::from([program.clone()]));
        assert_eq!(copier.version().unwrap(), version, "a copy changes nothing");
        database.record_start(1).unwrap();
        assert_ne!(copier.version().unwrap(), version);
        let copy = Database::open(&target, false).unwrap();
        assert_eq!(copy.needed_blobs().unwrap(), HashSet::from([program]));
        assert_eq!(copy.next_start().unwrap(), 1, "the copy was made before the start was recorded");
    }

    #[test]
    fn copy_never_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("service.db"), folder.path().join("copy.db"));
        let _database = Database::open(&path, true).unwrap();
        std::fs::write(&target, "content").unwrap();
        assert!(DatabaseCopier::new(path).copy_to(&target).is_err());
        assert_eq!(std::fs::read(&target).unwrap(), b"content");
    }
}
