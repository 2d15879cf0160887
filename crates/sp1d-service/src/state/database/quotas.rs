//! The table of tenants' quotas, and what tenants use.

use super::{
    connection::Database,
    error::Result,
    rows::{signed, unsigned},
};
use crate::access::{TenantQuota, WaitingTenant};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::time::Duration;

fn count(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(name)?.map(|number| u64::try_from(number).unwrap_or(0)))
}

fn quota_of(row: &Row<'_>) -> rusqlite::Result<TenantQuota> {
    Ok(TenantQuota {
        max_queue: count(row, "queued")?,
        parallel_proofs: count(row, "running")?,
        max_cycles: count(row, "cycles")?,
        max_bytes: count(row, "bytes")?,
        min_priority: row.get("min_priority")?,
        max_priority: row.get("max_priority")?,
        keep: count(row, "keep_ms")?.map(Duration::from_millis),
    })
}

/// Returns a time as the database stores it.
pub(super) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the tenants with queued proofs, ordered by their names.
pub(super) fn waiting_tenants(connection: &Connection) -> rusqlite::Result<Vec<WaitingTenant>> {
    let mut select = connection.prepare(
        "SELECT queue.tenant AS name, quotas.running AS parallel_proofs,
                (SELECT count(*) FROM proofs WHERE tenant = queue.tenant AND state = 'running') AS running,
                (SELECT max(started) FROM proofs WHERE tenant = queue.tenant) AS last_start
         FROM (SELECT DISTINCT tenant FROM proofs WHERE state = 'queued') AS queue
              LEFT JOIN quotas ON quotas.tenant = queue.tenant
         ORDER BY name",
    )?;
    let tenant = |row: &Row<'_>| {
        Ok(WaitingTenant {
            name: row.get("name")?,
            running: unsigned(row, "running")?,
            parallel_proofs: count(row, "parallel_proofs")?,
            last_start: row.get("last_start")?,
        })
    };
    select.query_map([], tenant)?.collect()
}

impl Database {
    /// Returns the quota of `tenant`, which is empty if none was set.
    pub(crate) fn quota(&self, tenant: &str) -> Result<TenantQuota> {
        let select = "SELECT * FROM quotas WHERE tenant = ?1";
        self.read(|connection| Ok(connection.query_row(select, [tenant], quota_of).optional()?.unwrap_or_default()))
    }

    /// Returns all quotas, ordered by the names of their tenants.
    pub(crate) fn quotas(&self) -> Result<Vec<(String, TenantQuota)>> {
        self.read(|connection| {
            let mut select = connection.prepare("SELECT * FROM quotas ORDER BY tenant")?;
            let quota = |row: &Row<'_>| Ok((row.get::<_, String>("tenant")?, quota_of(row)?));
            let found = select.query_map([], quota)?.collect::<rusqlite::Result<_>>()?;
            Ok(found)
        })
    }

    /// Sets the quota of `tenant`.
    pub(crate) fn set_quota(&self, tenant: &str, quota: &TenantQuota) -> Result<()> {
        let TenantQuota { max_queue, parallel_proofs, max_cycles, max_bytes, min_priority, max_priority, keep } =
            *quota;
        let [queued, running, cycles, bytes] =
            [max_queue, parallel_proofs, max_cycles, max_bytes].map(|number| number.map(signed));
        let keep_ms = keep.map(milliseconds);
        self.write(|transaction| {
            let set = "INSERT OR REPLACE INTO quotas (tenant, queued, running, cycles, bytes, min_priority, max_priority, keep_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let values = params![tenant, queued, running, cycles, bytes, min_priority, max_priority, keep_ms];
            transaction.execute(set, values).map(drop)
        })
    }

    /// Returns the size of the programs, inputs and finished proofs of `tenant`, in bytes. A file that two tenants have
    /// counts for both.
    pub(crate) fn used_bytes(&self, tenant: &str) -> Result<u64> {
        let select = "SELECT coalesce((SELECT sum(programs.bytes) FROM tenant_programs JOIN programs ON programs.id = program WHERE tenant = ?1), 0)
              + coalesce((SELECT sum(bytes) FROM tenant_inputs WHERE tenant = ?1), 0)
              + coalesce((SELECT sum(result_bytes) FROM proofs WHERE tenant = ?1), 0)";
        self.read(|connection| Ok(connection.query_row(select, [tenant], |row| unsigned(row, 0))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::database::NewProofFields;
    use sp1d_model::{Moment, NewProof, ProgramSummary};

    const NOW: Moment = Moment(1_800_000_000_000);

    fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("service.db"), true).unwrap();
        let program = ProgramSummary { id: "p".into(), bytes: 7, verifying_key: None, created: Moment(0) };
        database.add_program("a", &program).unwrap();
        (folder, database)
    }

    fn add(database: &Database, id: &str, tenant: &str, priority: i32) {
        let fields = NewProofFields { tenant, program: "p", input: "i", options: "{}" };
        database.add_proof(id, &NewProof { priority, ..NewProof::default() }, fields, NOW).unwrap();
    }

    /// Starts all proofs that may start, one each second, and returns their ids.
    fn start_all(database: &Database, from: u64) -> Vec<String> {
        let at = (from..).map(|second| NOW.plus_seconds(second));
        at.map_while(|at| database.start_next(at).unwrap().map(|job| job.proof.id)).collect()
    }

    #[test]
    fn tenants_take_turns_whatever_their_priorities_are() {
        let (_folder, database) = database();
        for (id, tenant, priority) in
            [("a1", "a", 100), ("a2", "a", 50), ("a3", "a", 0), ("b1", "b", -5), ("b2", "b", 5)]
        {
            add(&database, id, tenant, priority);
        }
        assert_eq!(start_all(&database, 1), ["a1", "b2", "a2", "b1", "a3"]);
    }

    #[test]
    fn a_tenant_runs_no_more_proofs_than_its_quota_allows() {
        let (_folder, database) = database();
        database.set_quota("a", &TenantQuota { parallel_proofs: Some(1), ..TenantQuota::default() }).unwrap();
        for (id, tenant) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")] {
            add(&database, id, tenant, 0);
        }
        assert_eq!(start_all(&database, 1), ["a1", "b1", "b2"]);
        let cancel = "UPDATE proofs SET state = 'cancelled' WHERE id = 'a1'";
        database.write(|transaction| transaction.execute(cancel, [])).unwrap();
        assert_eq!(start_all(&database, 9), ["a2"]);
    }

    #[test]
    fn quota_is_read_back_and_replaced() {
        let (_folder, database) = database();
        assert_eq!(database.quota("a").unwrap(), TenantQuota::default());
        let quota = TenantQuota {
            max_queue: Some(1),
            parallel_proofs: Some(2),
            max_cycles: Some(u64::from(u32::MAX)),
            max_bytes: Some(0),
            min_priority: Some(-7),
            max_priority: Some(7),
            keep: Some(Duration::from_secs(86_400)),
        };
        database.set_quota("a", &quota).unwrap();
        assert_eq!((database.quota("a").unwrap(), database.quota("b").unwrap()), (quota, TenantQuota::default()));
        assert_eq!(database.quotas().unwrap(), [("a".to_owned(), quota)]);
        database.set_quota("a", &TenantQuota::default()).unwrap();
        assert_eq!(database.quota("a").unwrap(), TenantQuota::default());
    }

    #[test]
    fn programs_inputs_and_proofs_count() {
        let (_folder, database) = database();
        assert_eq!((database.used_bytes("a").unwrap(), database.used_bytes("b").unwrap()), (7, 0));
        database.add_input("a", "x", 100, NOW).unwrap();
        database.add_input("a", "x", 100, NOW).unwrap();
        add(&database, "a1", "a", 0);
        let finish = "UPDATE proofs SET result_bytes = 1000 WHERE id = 'a1'";
        database.write(|transaction| transaction.execute(finish, [])).unwrap();
        assert_eq!((database.used_bytes("a").unwrap(), database.used_bytes("b").unwrap()), (1107, 0));
    }
}
