//! The SQLite database of programs, proofs and their events: one file and its write-ahead log, see
//! <https://www.sqlite.org/wal.html>.
//!
//! Every method blocks on disk access.

use client::{EventRecord, FailureInfo, Mode, Moment, NewProof, Program, Proof, ProofEvent, ProofState, Share, Tasks};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params, types::Type};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// "SP1D" in ASCII. SQLite stores it in the file's header and thereby marks the file as a database of this program.
const APPLICATION_ID: i32 = 0x5350_3144;

/// Version of `SCHEMA`, stored as SQLite's `user_version`.
const VERSION: i32 = 1;

const SCHEMA: &str = "
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE programs (
    id TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    -- Empty until it is computed.
    verifying_key TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE TABLE proofs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    program TEXT NOT NULL REFERENCES programs (id),
    input TEXT NOT NULL,
    mode TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    cycle_limit INTEGER,
    nonce TEXT NOT NULL,
    options TEXT NOT NULL,
    idempotency_key TEXT UNIQUE,
    request TEXT NOT NULL,
    created INTEGER NOT NULL,
    started INTEGER,
    ended INTEGER,
    deadline INTEGER,
    starts INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    tasks TEXT NOT NULL DEFAULT '{\"known\":0,\"done\":0,\"remembered\":0}',
    cycles INTEGER,
    shards INTEGER,
    result TEXT,
    result_bytes INTEGER,
    workers TEXT NOT NULL DEFAULT '[]',
    failure TEXT
) STRICT;
CREATE INDEX proofs_by_state ON proofs (state, priority DESC, number);
CREATE TABLE events (
    proof TEXT NOT NULL REFERENCES proofs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (proof, number)
) STRICT, WITHOUT ROWID;
";

/// Why the database cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A newer release wrote the database.
    #[error("the database {} was written by a newer release of sp1d: its version is {found}, this release supports {VERSION}\nhint: run the newer release, or choose another state folder with `--state`", path.display())]
    Newer {
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
            _ => Self::Other(error),
        }
    }
}

type Result<T, E = DatabaseError> = std::result::Result<T, E>;

/// Outcome of a proof request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Accepted {
    /// A new proof was queued.
    New(Proof),
    /// The same request with the same idempotency key was accepted before.
    Known(Proof),
    /// A different request with the same idempotency key was accepted before.
    Other,
}

/// A proof to run, with the options for cutting its run into shards, which clients do not see.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Job {
    pub(crate) proof: Proof,
    pub(crate) options: String,
}

/// How a proof ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    Done { cycles: u64, shards: u64, result: String, result_bytes: u64, workers: Vec<Share> },
    Failed(FailureInfo),
    Cancelled,
}

impl Ending {
    pub(crate) const fn state(&self) -> ProofState {
        match self {
            Self::Done { .. } => ProofState::Done,
            Self::Failed(_) => ProofState::Failed,
            Self::Cancelled => ProofState::Cancelled,
        }
    }
}

/// Which proofs to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Selection {
    pub(crate) state: Option<ProofState>,
    /// Only proofs with a smaller number, which are older.
    pub(crate) before: Option<i64>,
    pub(crate) limit: u32,
}

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
        if version > VERSION {
            return Err(DatabaseError::Newer { path: path.to_owned(), found: version });
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
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        Ok(Self { connection: Mutex::new(connection) })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A poisoned lock is safe to use: SQLite rolled back the transaction that a panic interrupted.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in its own transaction and commits it. In autocommit mode, a statement with `RETURNING` would return
    /// its row before SQLite commits the change.
    fn write<T>(&self, work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
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

    /// Queues the proofs again that were running when an earlier process crashed, and returns their number. A proof
    /// fails after `most` crashes, because it may be their cause.
    pub(crate) fn requeue_running(&self, most: u32, now: Moment) -> Result<usize> {
        let failure = FailureInfo {
            kind: "host".to_owned(),
            text: format!(
                "the service crashed {most} times while this proof was running; it is not retried again\nhint: check whether the machine of the service has enough memory for this proof"
            ),
        };
        self.write(|transaction| {
            transaction.execute("UPDATE proofs SET crashes = crashes + 1 WHERE state = 'running'", [])?;
            transaction.execute(
                "UPDATE proofs SET state = 'failed', ended = ?1, failure = ?2 WHERE state = 'running' AND crashes >= ?3",
                params![now.0, to_json(&failure), most],
            )?;
            transaction.execute("UPDATE proofs SET state = 'queued' WHERE state = 'running'", [])
        })
    }

    /// Stores the options that decide how the run of a proof is cut into shards, for its next start.
    pub(crate) fn set_options(&self, id: &str, options: &str) -> Result<()> {
        self.write(|transaction| transaction.execute("UPDATE proofs SET options = ?2 WHERE id = ?1", [id, options]))?;
        Ok(())
    }

    /// Queues a running proof again when the service shuts down. This does not count as a crash.
    pub(crate) fn put_back(&self, id: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("UPDATE proofs SET state = 'queued' WHERE id = ?1 AND state = 'running'", [id])
        })?;
        Ok(())
    }

    /// Ends all queued proofs whose deadline has passed, with `failure` as their reason, and returns their ids.
    pub(crate) fn fail_expired(&self, failure: &FailureInfo, now: Moment) -> Result<Vec<String>> {
        self.write(|transaction| {
            let mut expire = transaction.prepare_cached(
                "UPDATE proofs SET state = 'failed', ended = ?1, failure = ?2 WHERE state = 'queued' AND deadline <= ?1 RETURNING id",
            )?;
            expire.query_map(params![now.0, to_json(failure)], |row| row.get(0))?.collect()
        })
    }

    /// Adds a program. If it is known, only updates its `created`, so that it is kept for the full time again.
    pub(crate) fn add_program(&self, program: &Program) -> Result<()> {
        self.lock().execute(
            "INSERT INTO programs (id, bytes, verifying_key, created) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET created = excluded.created",
            params![
                program.id,
                signed(program.bytes),
                program.verifying_key.as_deref().unwrap_or_default(),
                program.created.0
            ],
        )?;
        Ok(())
    }

    /// Stores the verifying key of `program`.
    pub(crate) fn set_verifying_key(&self, program: &str, key: &str) -> Result<()> {
        self.lock().execute("UPDATE programs SET verifying_key = ?2 WHERE id = ?1", params![program, key])?;
        Ok(())
    }

    pub(crate) fn program(&self, id: &str) -> Result<Option<Program>> {
        let select = "SELECT id, bytes, verifying_key, created FROM programs WHERE id = ?1";
        Ok(self.lock().query_row(select, [id], program_of).optional()?)
    }

    /// Returns the newest 1000 programs, newest first.
    pub(crate) fn programs(&self) -> Result<Vec<Program>> {
        let connection = self.lock();
        let mut select = connection
            .prepare("SELECT id, bytes, verifying_key, created FROM programs ORDER BY created DESC, id LIMIT 1000")?;
        let programs = select.query_map([], program_of)?.collect::<rusqlite::Result<_>>()?;
        Ok(programs)
    }

    /// Accepts a request at `now` for a proof of `program` on `input`. A new proof is on disk when this returns.
    pub(crate) fn add_proof(
        &self,
        id: &str,
        request: &NewProof,
        program: &str,
        input: &str,
        options: &str,
        now: Moment,
    ) -> Result<Accepted> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let whole = NewProof { program: Some(program.to_owned()), input: Some(input.to_owned()), ..request.clone() };
        let whole = serde_json::to_string(&whole).expect("a request can be serialized");
        if let Some(key) = &request.idempotency_key {
            let select = format!("SELECT {COLUMNS}, request FROM proofs WHERE idempotency_key = ?1");
            let known =
                transaction.query_row(&select, [key], |row| Ok((proof_of(row)?, row.get::<_, String>("request")?)));
            match known.optional()? {
                Some((proof, before)) if before == whole => return Ok(Accepted::Known(proof)),
                Some(_) => return Ok(Accepted::Other),
                None => {}
            }
        }
        let deadline = request.timeout_seconds.map(|seconds| now.plus_seconds(seconds).0);
        transaction.execute(
            "INSERT INTO proofs (id, program, input, mode, state, priority, cycle_limit, nonce, options, idempotency_key, request, created, deadline)
             VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                id,
                program,
                input,
                request.mode.name(),
                request.priority,
                request.cycle_limit.map(signed),
                serde_json::to_string(&request.nonce).expect("a nonce can be serialized"),
                options,
                request.idempotency_key,
                whole,
                now.0,
                deadline,
            ],
        )?;
        let proof = transaction.query_row(&format!("SELECT {COLUMNS} FROM proofs WHERE id = ?1"), [id], proof_of)?;
        transaction.commit()?;
        Ok(Accepted::New(proof))
    }

    pub(crate) fn proof(&self, id: &str) -> Result<Option<Proof>> {
        let select = format!("SELECT {COLUMNS} FROM proofs WHERE id = ?1");
        Ok(self.lock().query_row(&select, [id], proof_of).optional()?)
    }

    /// Returns the selected proofs, newest first, each with its number.
    pub(crate) fn proofs(&self, selection: Selection) -> Result<Vec<(i64, Proof)>> {
        let connection = self.lock();
        let mut select = connection.prepare(&format!(
            "SELECT {COLUMNS}, number FROM proofs WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR number < ?2) ORDER BY number DESC LIMIT ?3"
        ))?;
        let state = selection.state.map(ProofState::name);
        let found = select
            .query_map(params![state, selection.before, selection.limit], |row| {
                Ok((row.get("number")?, proof_of(row)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        Ok(found)
    }

    /// Returns the number of proofs in `state`.
    pub(crate) fn count(&self, state: ProofState) -> Result<u64> {
        let count = "SELECT count(*) FROM proofs WHERE state = ?1";
        Ok(self.lock().query_row(count, [state.name()], |row| unsigned(row, 0))?)
    }

    /// Marks the next queued proof as running and returns it: the oldest of the highest priority. `None` if the queue
    /// is empty.
    pub(crate) fn begin_next(&self, now: Moment) -> Result<Option<Job>> {
        let begin = format!(
            "UPDATE proofs SET state = 'running', started = ?1, starts = starts + 1
             WHERE number = (SELECT number FROM proofs WHERE state = 'queued' ORDER BY priority DESC, number LIMIT 1)
             RETURNING {COLUMNS}, options"
        );
        let job = |row: &Row<'_>| Ok(Job { proof: proof_of(row)?, options: row.get("options")? });
        self.write(|transaction| transaction.query_row(&begin, [now.0], job).optional())
    }

    /// Ends a queued or running proof and returns its new record. `None` if the proof has already ended or is unknown.
    pub(crate) fn end(&self, id: &str, ending: &Ending, tasks: Tasks, now: Moment) -> Result<Option<Proof>> {
        let (mut cycles, mut shards, mut result, mut bytes, mut workers, mut failure) =
            (None, None, None, None, &Vec::new(), None);
        match ending {
            Ending::Done { cycles: c, shards: s, result: r, result_bytes: b, workers: w } => {
                (cycles, shards, result, bytes, workers) =
                    (Some(signed(*c)), Some(signed(*s)), Some(r), Some(signed(*b)), w);
            }
            Ending::Failed(info) => failure = Some(to_json(info)),
            Ending::Cancelled => {}
        }
        let end = format!(
            "UPDATE proofs SET state = ?2, ended = ?3, cycles = ?4, shards = ?5, result = ?6, result_bytes = ?7, workers = ?8, failure = ?9, tasks = ?10
             WHERE id = ?1 AND state IN ('queued', 'running') RETURNING {COLUMNS}"
        );
        let values = params![
            id,
            ending.state().name(),
            now.0,
            cycles,
            shards,
            result,
            bytes,
            to_json(workers),
            failure,
            to_json(&tasks)
        ];
        self.write(|transaction| transaction.query_row(&end, values, proof_of).optional())
    }

    /// Cancels a queued proof and returns its new record. `None` if the proof is not in the queue.
    pub(crate) fn cancel_queued(&self, id: &str, now: Moment) -> Result<Option<Proof>> {
        let cancel = format!(
            "UPDATE proofs SET state = 'cancelled', ended = ?2 WHERE id = ?1 AND state = 'queued' RETURNING {COLUMNS}"
        );
        self.write(|transaction| transaction.query_row(&cancel, params![id, now.0], proof_of).optional())
    }

    /// Returns the digest of the finished proof's bytes, or `None` if the proof is not done or unknown.
    pub(crate) fn result(&self, id: &str) -> Result<Option<String>> {
        let select = "SELECT result FROM proofs WHERE id = ?1";
        Ok(self.lock().query_row(select, [id], |row| row.get(0)).optional()?.flatten())
    }

    /// Stores events of proofs, either all of them or none.
    pub(crate) fn add_events(&self, events: &[(String, EventRecord)]) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        {
            // Events of a proof that was removed in the meantime are dropped.
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO events (proof, number, record) SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM proofs WHERE id = ?1)",
            )?;
            for (proof, record) in events {
                insert.execute(params![proof, signed(record.number), to_json(record)])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Adds the last event to each ended proof that lacks it, and returns the number of these proofs. An earlier
    /// process may have crashed after it stored the end of the proof and before it stored the event.
    pub(crate) fn complete_events(&self) -> Result<usize> {
        let ended = {
            let connection = self.lock();
            let mut select = connection.prepare(&format!(
                "SELECT {COLUMNS} FROM proofs WHERE ended IS NOT NULL AND coalesce((SELECT
                 CASE WHEN json_valid(record) THEN json_extract(record, '$.event') END
                 FROM events WHERE proof = id ORDER BY number DESC LIMIT 1), '') <> 'finished'"
            ))?;
            select.query_map([], proof_of)?.collect::<rusqlite::Result<Vec<Proof>>>()?
        };
        let event = |proof: Proof| {
            let (state, failure) = (proof.state, proof.failure);
            let number = self.last_event(&proof.id)? + 1;
            let at = proof.ended.unwrap_or(proof.created);
            Ok((proof.id, EventRecord { number, at, event: ProofEvent::Finished { state, failure } }))
        };
        let events = ended.into_iter().map(event).collect::<Result<Vec<_>>>()?;
        self.add_events(&events)?;
        Ok(events.len())
    }

    /// Returns the events of a proof after number `after`, in order and at most `limit`.
    pub(crate) fn events(&self, proof: &str, after: u64, limit: u32) -> Result<Vec<EventRecord>> {
        let connection = self.lock();
        let mut select = connection
            .prepare_cached("SELECT record FROM events WHERE proof = ?1 AND number > ?2 ORDER BY number LIMIT ?3")?;
        let found = select
            .query_map(params![proof, signed(after), limit], |row| from_json(row, "record"))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(found)
    }

    /// Returns the number of the last event of a proof, or 0 if the proof has no events.
    pub(crate) fn last_event(&self, proof: &str) -> Result<u64> {
        let select = "SELECT coalesce(max(number), 0) FROM events WHERE proof = ?1";
        Ok(self.lock().query_row(select, [proof], |row| unsigned(row, 0))?)
    }

    /// Removes the proofs that ended before `before`, with their events, and returns their number. Also removes the
    /// programs that were added before `before` and that no proof uses.
    pub(crate) fn remove_ended(&self, before: Moment) -> Result<usize> {
        self.write(|transaction| {
            let removed = transaction.execute("DELETE FROM proofs WHERE ended < ?1", [before.0])?;
            let unused = "DELETE FROM programs WHERE created < ?1 AND id NOT IN (SELECT program FROM proofs)";
            transaction.execute(unused, [before.0])?;
            Ok(removed)
        })
    }

    /// Returns unused pages of the file to the file system.
    pub(crate) fn shrink(&self) -> Result<()> {
        let connection = self.lock();
        // Each step of the statement frees one page.
        let mut vacuum = connection.prepare("PRAGMA incremental_vacuum")?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
        Ok(())
    }

    /// Returns true if a request with this idempotency key was accepted before.
    pub(crate) fn knows_key(&self, key: &str) -> Result<bool> {
        let select = "SELECT count(*) FROM proofs WHERE idempotency_key = ?1";
        Ok(self.lock().query_row(select, [key], |row| unsigned(row, 0))? > 0)
    }

    /// Returns the digests of all blobs that a program or a proof refers to.
    pub(crate) fn needed_blobs(&self) -> Result<std::collections::HashSet<String>> {
        let connection = self.lock();
        let mut select = connection.prepare(
            "SELECT id FROM programs UNION SELECT input FROM proofs UNION SELECT result FROM proofs WHERE result IS NOT NULL",
        )?;
        let found = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(found)
    }
}

/// Converts an error of SQLite, with `damaged` if it means that the file is damaged or not an SQLite database.
fn by_damage(error: rusqlite::Error, damaged: impl Fn(String) -> DatabaseError) -> DatabaseError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damaged(error.to_string()),
        _ => error.into(),
    }
}

const COLUMNS: &str = "id, program, input, mode, state, priority, cycle_limit, nonce, created, started, ended, deadline, starts, tasks, cycles, shards, result_bytes, workers, failure";

/// Converts to the signed integers of SQLite. No value here comes close to the limit of `i64`.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row<'_>, index: impl rusqlite::RowIndex) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0))
}

fn optional(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(name)?.and_then(|number| u64::try_from(number).ok()))
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("a record can be serialized")
}

fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, name: &str) -> rusqlite::Result<T> {
    let text: String = row.get(name)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

fn named<T: Copy>(row: &Row<'_>, name: &str, all: &[T], name_of: impl Fn(T) -> &'static str) -> rusqlite::Result<T> {
    let text: String = row.get(name)?;
    let found = all.iter().copied().find(|one| name_of(*one) == text);
    found.ok_or_else(|| rusqlite::Error::InvalidColumnType(0, format!("{name} {text}"), Type::Text))
}

fn program_of(row: &Row<'_>) -> rusqlite::Result<Program> {
    Ok(Program {
        id: row.get("id")?,
        bytes: unsigned(row, "bytes")?,
        verifying_key: Some(row.get("verifying_key")?).filter(|key: &String| !key.is_empty()),
        created: Moment(row.get("created")?),
    })
}

fn proof_of(row: &Row<'_>) -> rusqlite::Result<Proof> {
    let moment = |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.map(Moment));
    let failure: Option<String> = row.get("failure")?;
    Ok(Proof {
        id: row.get("id")?,
        program: row.get("program")?,
        input: row.get("input")?,
        mode: named(row, "mode", &Mode::ALL, Mode::name)?,
        state: named(row, "state", &ProofState::ALL, ProofState::name)?,
        priority: row.get("priority")?,
        cycle_limit: optional(row, "cycle_limit")?,
        nonce: from_json(row, "nonce")?,
        created: Moment(row.get("created")?),
        started: moment("started")?,
        ended: moment("ended")?,
        deadline: moment("deadline")?,
        starts: row.get("starts")?,
        tasks: from_json(row, "tasks")?,
        cycles: optional(row, "cycles")?,
        shards: optional(row, "shards")?,
        proof_bytes: optional(row, "result_bytes")?,
        workers: from_json(row, "workers")?,
        failure: match failure {
            Some(_) => Some(from_json(row, "failure")?),
            None => None,
        },
    })
}

#[cfg(test)]
mod tests;
