//! Removes old rows, and finds the blobs that are still needed.

use super::{connection::Database, error::Result, removals::RemovalKind};
use rusqlite::{Connection, params};
use sp1d_model::Moment;
use std::collections::HashSet;

impl Database {
    /// Removes the proofs that ended before `before`, with their events, and returns their number. Also removes the
    /// programs of a tenant that were added before `before` and that no proof of the tenant uses. Records that the
    /// cached results of the proofs are left to remove.
    pub(crate) fn remove_ended(&self, before: Moment) -> Result<usize> {
        self.write(|transaction| {
            let results = "INSERT INTO removals (kind, digest) SELECT DISTINCT ?2, input FROM proofs WHERE ended < ?1 ON CONFLICT DO NOTHING";
            transaction.execute(results, params![before.0, RemovalKind::CachedResults.name()])?;
            let removed = transaction.execute("DELETE FROM proofs WHERE ended < ?1", [before.0])?;
            let unused = "DELETE FROM tenant_programs WHERE created < ?1 AND (tenant, program) NOT IN (SELECT tenant, program FROM proofs)";
            transaction.execute(unused, [before.0])?;
            let unused = "DELETE FROM programs WHERE created < ?1 AND id NOT IN (SELECT program FROM proofs) AND id NOT IN (SELECT program FROM tenant_programs)";
            transaction.execute(unused, [before.0])?;
            Ok(removed)
        })
    }

    /// Removes the records of inputs that a tenant uploaded before `before`, and that no proof of the tenant uses.
    pub(crate) fn forget_inputs(&self, before: Moment) -> Result<()> {
        let unused = "DELETE FROM tenant_inputs WHERE created < ?1 AND (tenant, input) NOT IN (SELECT tenant, input FROM proofs)";
        self.write(|transaction| transaction.execute(unused, [before.0]))?;
        Ok(())
    }

    /// Returns unused pages of the file to the file system.
    pub(crate) fn shrink(&self) -> Result<()> {
        self.on_writer(|connection| {
            // Each step of the statement frees one page.
            let mut vacuum = connection.prepare("PRAGMA incremental_vacuum")?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
            Ok(())
        })
    }

    /// Returns the digests of all blobs that a program or a proof refers to.
    pub(crate) fn needed_blobs(&self) -> Result<HashSet<String>> {
        self.read(needed_blobs)
    }
}

/// Returns the digests of all blobs that a program or a proof in the database of `connection` refers to.
pub(super) fn needed_blobs(connection: &Connection) -> Result<HashSet<String>> {
    let select = "SELECT id FROM programs UNION SELECT input FROM proofs UNION SELECT result FROM proofs WHERE result IS NOT NULL";
    let found = connection.prepare(select)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(found)
}
