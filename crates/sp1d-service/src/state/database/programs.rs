//! The tables of programs and inputs.

use super::{
    connection::Database,
    error::Result,
    rows::{program_of, signed},
};
use rusqlite::{OptionalExtension, params};
use sp1d_model::{Moment, ProgramSummary};

/// The programs of a tenant, or of all tenants if the parameter 1 is null: each program once.
const PROGRAMS: &str = "SELECT programs.id AS id, bytes, max(tenant_programs.verifying_key) AS verifying_key, max(tenant_programs.created) AS created
     FROM tenant_programs JOIN programs ON programs.id = tenant_programs.program
     WHERE (?1 IS NULL OR tenant_programs.tenant = ?1)";

impl Database {
    /// Adds a program of `tenant`. If the tenant has it, only updates its `created`, so that it is kept for the full
    /// time again.
    pub(crate) fn add_program(&self, tenant: &str, program: &ProgramSummary) -> Result<()> {
        let ProgramSummary { id, bytes, verifying_key, created } = program;
        self.write(|transaction| {
            let insert = "INSERT INTO programs (id, bytes, verifying_key, created) VALUES (?1, ?2, '', ?3) ON CONFLICT DO UPDATE SET created = excluded.created";
            transaction.execute(insert, params![id, signed(*bytes), created.0])?;
            let insert = "INSERT INTO tenant_programs (tenant, program, verifying_key, created) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET created = excluded.created";
            let key = verifying_key.as_deref().unwrap_or_default();
            transaction.execute(insert, params![tenant, id, key, created.0]).map(drop)
        })
    }

    /// Stores the verifying key of a program of `tenant`.
    pub(crate) fn set_verifying_key(&self, tenant: &str, program: &str, key: &str) -> Result<()> {
        let update = "UPDATE tenant_programs SET verifying_key = ?3 WHERE tenant = ?1 AND program = ?2";
        self.write(|transaction| transaction.execute(update, [tenant, program, key]))?;
        Ok(())
    }

    /// Returns the program `id` if `tenant` has it, or if any tenant has it and `tenant` is `None`.
    pub(crate) fn program(&self, tenant: Option<&str>, id: &str) -> Result<Option<ProgramSummary>> {
        let select = format!("{PROGRAMS} AND programs.id = ?2 GROUP BY programs.id");
        self.read(|connection| Ok(connection.query_row(&select, params![tenant, id], program_of).optional()?))
    }

    /// Returns the newest 1000 programs of a tenant, or of all tenants if `tenant` is `None`, newest first.
    pub(crate) fn programs(&self, tenant: Option<&str>) -> Result<Vec<ProgramSummary>> {
        let select = format!("{PROGRAMS} GROUP BY programs.id ORDER BY 4 DESC, 1 LIMIT 1000");
        self.read(|connection| {
            let mut select = connection.prepare(&select)?;
            Ok(select.query_map([tenant], program_of)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Records that `tenant` has uploaded an input of `bytes` bytes, and may use it.
    pub(crate) fn add_input(&self, tenant: &str, input: &str, bytes: u64, now: Moment) -> Result<()> {
        let insert = "INSERT INTO tenant_inputs (tenant, input, bytes, created) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET bytes = excluded.bytes, created = excluded.created";
        self.write(|transaction| transaction.execute(insert, params![tenant, input, signed(bytes), now.0]))?;
        Ok(())
    }

    /// Returns true if `tenant` has uploaded `input`, or uses it in a proof.
    pub(crate) fn has_input(&self, tenant: &str, input: &str) -> Result<bool> {
        let select = "SELECT EXISTS (SELECT 1 FROM tenant_inputs WHERE tenant = ?1 AND input = ?2)";
        self.read(|connection| Ok(connection.query_row(select, [tenant, input], |row| row.get(0))?))
    }
}
