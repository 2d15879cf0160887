//! Opens the database and runs transactions.

use super::{
    error::{DatabaseError, Result, by_damage},
    rows::{signed, unsigned},
    schema::{APPLICATION_ID, OLDEST_VERSION, SCHEMA, SCHEMA_VERSION, UPGRADES},
};
use crate::state::{
    disk::free_bytes,
    private_files::{create_private_file, make_private},
};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a call waits while another program has locked the database. Calls wait for each other, so this is short.
const MAX_LOCK_WAIT: Duration = Duration::from_millis(500);

/// Space that SQLite needs to open a database: its index of the write-ahead log has 32 KiB. With less, an error of the
/// file system means that the disk is full.
const MIN_OPEN_BYTES: u64 = 1 << 20;

/// How a connection shares the database file with other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// Other programs may read it, for example for a backup.
    Shared,
    /// No other connection may open it. Only then can SQLite open it on a full disk: it keeps the index of the
    /// write-ahead log in memory. See <https://www.sqlite.org/wal.html#noshm>.
    Alone,
}

/// Whether the tables of an older release are upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrading {
    /// The caller has the state folder for itself.
    Allowed,
    /// A service of an older release may be using the database.
    Forbidden,
}

/// The open database. Every method blocks on disk access.
pub(crate) struct Database {
    path: PathBuf,
    /// `None` while another program keeps `share` from opening the file again.
    writer: Mutex<Option<Connection>>,
    /// For reads, which never wait for writes. `None` while the writer has the file for itself.
    reader: Mutex<Option<Connection>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock is safe to use: SQLite rolled back the transaction that a panic interrupted.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    /// Opens the database at `path`. Creates a missing database only if the state folder `is_new`: in a used folder, a
    /// missing database means that data was lost. On a full disk, it opens an existing database for this process alone.
    pub(crate) fn open(path: &Path, is_new: bool) -> Result<Self> {
        let fresh = std::fs::metadata(path).map_or(true, |described| described.len() == 0);
        if fresh && !is_new {
            return Err(DatabaseError::Missing { path: path.to_owned() });
        }
        if fresh {
            // SQLite gives its other files the permissions of this one. If the file cannot be created, SQLite says why.
            let _ = create_private_file(path);
        }
        for file in ["", "-wal", "-shm"] {
            let mut name = path.as_os_str().to_owned();
            name.push(file);
            make_private(Path::new(&name));
        }
        match connect(path, fresh, Sharing::Shared, Upgrading::Allowed) {
            Ok(writer) => Ok(Self::of(path, writer, Some(connect_reader(path)?))),
            Err(DatabaseError::Full) if !fresh => Self::open_alone(path),
            Err(error) => Err(error),
        }
    }

    /// Opens an existing database that a running service may be using. Fails if it is of an older release.
    pub(crate) fn open_beside(path: &Path) -> Result<Self> {
        if std::fs::metadata(path).map_or(true, |described| described.len() == 0) {
            return Err(DatabaseError::Missing { path: path.to_owned() });
        }
        let writer = connect(path, false, Sharing::Shared, Upgrading::Forbidden)?;
        Ok(Self::of(path, writer, Some(connect_reader(path)?)))
    }

    /// Opens an existing database so that no other program can open it, until [`Database::share`].
    pub(super) fn open_alone(path: &Path) -> Result<Self> {
        Ok(Self::of(path, connect(path, false, Sharing::Alone, Upgrading::Allowed)?, None))
    }

    fn of(path: &Path, writer: Connection, reader: Option<Connection>) -> Self {
        Self { path: path.to_owned(), writer: Mutex::new(Some(writer)), reader: Mutex::new(reader) }
    }

    /// Shares the file with other programs again if it was opened on a full disk. If this fails, the caller must try
    /// again.
    pub(crate) fn share(&self) -> Result<()> {
        let mut reader = lock(&self.reader);
        if reader.is_some() {
            return Ok(());
        }
        let mut writer = lock(&self.writer);
        // The exclusive lock ends only with its connection.
        writer.take();
        match connect(&self.path, false, Sharing::Shared, Upgrading::Allowed) {
            Ok(shared) => *writer = Some(shared),
            Err(error) => {
                *writer = connect(&self.path, false, Sharing::Alone, Upgrading::Allowed).ok();
                return Err(error);
            }
        }
        *reader = Some(connect_reader(&self.path)?);
        Ok(())
    }

    /// Runs `work` on the connection that writes.
    pub(super) fn on_writer<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        work(lock(&self.writer).as_mut().ok_or(DatabaseError::Locked)?)
    }

    /// Runs `work`, which only reads, on the connection for reads.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let reader = lock(&self.reader);
        if let Some(connection) = &*reader {
            return work(connection);
        }
        drop(reader);
        self.on_writer(|connection| work(connection))
    }

    /// Runs `work` in its own transaction and commits it. In autocommit mode, a statement with `RETURNING` would return
    /// its row before SQLite commits the change.
    pub(super) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        self.on_writer(|connection| {
            // Locks the database at once: a transaction that starts with a read fails if another program writes
            // meanwhile.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    /// Returns the number that the next start of the service has, 1 for the first start.
    pub(crate) fn next_start(&self) -> Result<u64> {
        let select = "SELECT coalesce(max(value), 0) + 1 FROM counters WHERE name = 'starts'";
        self.read(|connection| Ok(connection.query_row(select, [], |row| unsigned(row, 0))?))
    }

    /// Records the start number `start` of the service.
    pub(crate) fn record_start(&self, start: u64) -> Result<()> {
        self.write(|transaction| set_counter(transaction, "starts", signed(start)))
    }
}

/// Sets the counter `name`.
pub(super) fn set_counter(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    let set = "INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
    connection.execute(set, rusqlite::params![name, value]).map(drop)
}

/// Opens a connection that only reads.
fn connect_reader(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(MAX_LOCK_WAIT)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", CACHE_SIZE)?;
    Ok(connection)
}

/// Cache of a connection: 64 KiB; SQLite counts in KiB if the value is negative. The kernel caches the file anyway, so
/// a larger cache would only increase the memory of the process over time.
const CACHE_SIZE: i32 = -64;

/// Opens the connection that writes, and creates the tables of a `fresh` database.
fn connect(path: &Path, fresh: bool, sharing: Sharing, upgrading: Upgrading) -> Result<Connection> {
    let damaged = |reason: String| DatabaseError::Corrupt { path: path.to_owned(), reason };
    let failed = |error: rusqlite::Error| {
        let is_full = free_bytes(path).is_some_and(|free| free < MIN_OPEN_BYTES);
        let is_of_files = matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::CannotOpen)
        );
        if is_full && is_of_files { DatabaseError::Full } else { by_damage(error, damaged) }
    };
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(MAX_LOCK_WAIT)?;
    if sharing == Sharing::Alone {
        let set = connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |row| row.get::<_, String>(0));
        set.map_err(failed)?;
    }
    if fresh {
        // SQLite applies `auto_vacuum` only before the first table exists.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(failed)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    }
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(failed);
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION_ID {
        return Err(DatabaseError::Foreign { path: path.to_owned() });
    }
    if version > SCHEMA_VERSION {
        return Err(DatabaseError::Newer { path: path.to_owned(), found: version });
    }
    let is_old = version < SCHEMA_VERSION;
    // 0 is the version of a file whose tables are not created yet, perhaps by a service that is just starting.
    let is_too_old = version != 0 && version < OLDEST_VERSION;
    if is_too_old || (is_old && upgrading == Upgrading::Forbidden) {
        return Err(DatabaseError::Older { path: path.to_owned(), found: version });
    }
    let log = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
    log.map_err(failed)?;
    // An accepted proof must survive a power failure.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Deleted rows are overwritten, so that the file does not contain them any more.
    connection.pragma_update_and_check(None, "secure_delete", true, |row| row.get::<_, i64>(0))?;
    connection.pragma_update(None, "cache_size", CACHE_SIZE)?;
    let checked = connection.pragma_query_value(None, "quick_check", |row| row.get::<_, String>(0));
    match checked {
        Ok(verdict) if verdict == "ok" => {}
        // SQLite reports several lines.
        Ok(verdict) => return Err(damaged(verdict.replace('\n', " "))),
        Err(error) => return Err(failed(error)),
    }
    if is_old {
        let transaction = connection.transaction()?;
        if version == 0 {
            transaction.execute_batch(SCHEMA)?;
        }
        let done = usize::try_from(version.saturating_sub(OLDEST_VERSION)).unwrap_or(0);
        UPGRADES.iter().skip(done).try_for_each(|upgrade| transaction.execute_batch(upgrade))?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
    }
    Ok(connection)
}
