//! Reads proofs.

use super::{
    connection::Database,
    error::Result,
    rows::{COLUMNS, proof_of, unsigned},
};
use rusqlite::{OptionalExtension, params};
use sp1d_model::{ProofState, ProofSummary};

/// Which proofs to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ProofSelection {
    pub(crate) state: Option<ProofState>,
    /// Only proofs with a smaller number, which are older.
    pub(crate) before: Option<i64>,
    pub(crate) limit: u32,
}

impl Database {
    pub(crate) fn proof(&self, id: &str) -> Result<Option<ProofSummary>> {
        let select = format!("SELECT {COLUMNS} FROM proofs WHERE id = ?1");
        self.read(|connection| Ok(connection.query_row(&select, [id], proof_of).optional()?))
    }

    /// Returns true if `tenant` owns the proof `id`. An unknown proof has no owner.
    pub(crate) fn owns_proof(&self, tenant: &str, id: &str) -> Result<bool> {
        let select = "SELECT EXISTS (SELECT 1 FROM proofs WHERE id = ?2 AND tenant = ?1)";
        self.read(|connection| Ok(connection.query_row(select, [tenant, id], |row| row.get(0))?))
    }

    /// Returns the selected proofs of a tenant, or of all tenants if `tenant` is `None`, newest first, each with its
    /// number.
    pub(crate) fn proofs(&self, tenant: Option<&str>, selection: ProofSelection) -> Result<Vec<(i64, ProofSummary)>> {
        // With a parameter that may be null, SQLite would not use the index of the tenant's proofs.
        let of_tenant = if tenant.is_some() { "tenant = ?4" } else { "?4 IS NULL" };
        let select = format!(
            "SELECT {COLUMNS}, number FROM proofs WHERE {of_tenant} AND (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR number < ?2) ORDER BY number DESC LIMIT ?3"
        );
        let state = selection.state.map(ProofState::name);
        self.read(|connection| {
            let mut select = connection.prepare(&select)?;
            let found = select
                .query_map(params![state, selection.before, selection.limit, tenant], |row| {
                    Ok((row.get("number")?, proof_of(row)?))
                })?
                .collect::<rusqlite::Result<_>>()?;
            Ok(found)
        })
    }

    /// Returns the number of proofs in `state`.
    pub(crate) fn count(&self, state: ProofState) -> Result<u64> {
        let count = "SELECT count(*) FROM proofs WHERE state = ?1";
        self.read(|connection| Ok(connection.query_row(count, [state.name()], |row| unsigned(row, 0))?))
    }

    /// Returns the number of proofs of `tenant` in `state`.
    pub(crate) fn count_of(&self, tenant: &str, state: ProofState) -> Result<u64> {
        let count = "SELECT count(*) FROM proofs WHERE tenant = ?1 AND state = ?2";
        self.read(|connection| Ok(connection.query_row(count, [tenant, state.name()], |row| unsigned(row, 0))?))
    }

    /// Returns the digest of the finished proof's bytes, or `None` if the proof is not done or unknown.
    pub(crate) fn result(&self, id: &str) -> Result<Option<String>> {
        let select = "SELECT result FROM proofs WHERE id = ?1";
        self.read(|connection| Ok(connection.query_row(select, [id], |row| row.get(0)).optional()?.flatten()))
    }
}
