//! Removes old rows, and finds the blobs that are still needed.

use super::{connection::Database, error::Result, quotas::milliseconds, removals::RemovalKind};
use rusqlite::{Connection, params};
use sp1d_model::Moment;
use std::{collections::HashSet, time::Duration};

impl Database {
    /// Removes the proofs that ended more than `keep` before `now`, with their events, and returns their number. The
    /// quota of a tenant may have another time instead of `keep`. Also removes the programs of a tenant that were added
    /// before this time and that no proof of the tenant uses. Records that the cached results of the proofs are left to
    /// remove.
    pub(crate) fn remove_ended(&self, now: Moment, keep: Duration) -> Result<usize> {
        let keep_ms = milliseconds(keep);
        self.write(|transaction| {
            let results = "INSERT INTO removals (kind, digest) SELECT DISTINCT ?3, input FROM proofs
                WHERE ended < ?1 - coalesce((SELECT keep_ms FROM quotas WHERE quotas.tenant = proofs.tenant), ?2) ON CONFLICT DO NOTHING";
            transaction.execute(results, params![now.0, keep_ms, RemovalKind::CachedResults.name()])?;
            let expired = "DELETE FROM proofs
                WHERE ended < ?1 - coalesce((SELECT keep_ms FROM quotas WHERE quotas.tenant = proofs.tenant), ?2)";
            let removed = transaction.execute(expired, [now.0, keep_ms])?;
            let unused = "DELETE FROM tenant_programs
                WHERE created < ?1 - coalesce((SELECT keep_ms FROM quotas WHERE quotas.tenant = tenant_programs.tenant), ?2)
                    AND (tenant, program) NOT IN (SELECT tenant, program FROM proofs)";
            transaction.execute(unused, [now.0, keep_ms])?;
            let unused = "DELETE FROM programs WHERE created < ?1 - ?2 AND id NOT IN (SELECT program FROM proofs) AND id NOT IN (SELECT program FROM tenant_programs)";
            transaction.execute(unused, [now.0, keep_ms])?;
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
