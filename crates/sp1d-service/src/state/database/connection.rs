//! Opens the database and runs transactions.

use super::{
    error::{DatabaseError, Result, by_damage},
    rows::unsigned,
    schema::{APPLICATION_ID, SCHEMA, SCHEMA_VERSION},
};
use rusqlite::Connection;
use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The open database. Every method blocks on disk access.
pub(crate) struct Database {
    connection: Mutex<Connection>,
}

impl Database {
    /// Opens the database at `path`. Creates a missing database only if the state folder `is_new`: in a used folder, a
    /// missing database means that data was lost.
    pub(crate) fn open(path: &Path, is_new: bool) -> Result<Self> {
        let fresh = std::fs::metadata(path).map_or(true, |described| described.len() == 0);
        if fresh && !is_new {
            return Err(DatabaseError::Missing { path: path.to_owned() });
        }
        let read = (|| {
            let connection = Connection::open(path)?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            if fresh {
                // SQLite applies `auto_vacuum` only before the first table exists.
                connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
                connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            }
            let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
            let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            Ok((connection, application, version))
        })();
        let damaged = |reason: String| DatabaseError::Corrupt { path: path.to_owned(), reason };
        let (mut connection, application, version) =
            read.map_err(|error: rusqlite::Error| by_damage(error, damaged))?;
        if application != APPLICATION_ID {
            return Err(DatabaseError::Foreign { path: path.to_owned() });
        }
        if version > SCHEMA_VERSION {
            return Err(DatabaseError::Newer { path: path.to_owned(), found: version });
        }
        // 0 is the version of a file whose tables are not created yet.
        if version != 0 && version < SCHEMA_VERSION {
            return Err(DatabaseError::Older { path: path.to_owned(), found: version });
        }
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
        // An accepted proof must survive a power failure.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // 64 KiB; SQLite counts in KiB if the value is negative. The kernel caches the file anyway, so a larger cache
        // would only increase the memory of the process over time.
        connection.pragma_update(None, "cache_size", -64)?;
        let checked = connection.pragma_query_value(None, "quick_check", |row| row.get::<_, String>(0));
        match checked {
            Ok(verdict) if verdict == "ok" => {}
            // SQLite reports several lines.
            Ok(verdict) => return Err(damaged(verdict.replace('\n', " "))),
            Err(error) => return Err(by_damage(error, damaged)),
        }
        if version == 0 {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()?;
        }
        Ok(Self { connection: Mutex::new(connection) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        // A poisoned lock is safe to use: SQLite rolled back the transaction that a panic interrupted.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in its own transaction and commits it. In autocommit mode, a statement with `RETURNING` would return
    /// its row before SQLite commits the change.
    pub(super) fn write<T>(&self, work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Counts a start of the service and returns its number, 1 for the first start.
    pub(crate) fn count_start(&self) -> Result<u64> {
        let count = "INSERT INTO counters (name, value) VALUES ('starts', 1)
             ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value";
        self.write(|transaction| transaction.query_row(count, [], |row| unsigned(row, 0)))
    }
}
