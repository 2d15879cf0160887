//! The table of programs.

use super::{
    connection::Database,
    error::Result,
    rows::{program_of, signed},
};
use rusqlite::{OptionalExtension, params};
use sp1d_model::ProgramSummary;

impl Database {
    /// Adds a program. If it is known, only updates its `created`, so that it is kept for the full time again.
    pub(crate) fn add_program(&self, program: &ProgramSummary) -> Result<()> {
        let values = params![
            program.id,
            signed(program.bytes),
            program.verifying_key.as_deref().unwrap_or_default(),
            program.created.0
        ];
        let insert = "INSERT INTO programs (id, bytes, verifying_key, created) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET created = excluded.created";
        self.write(|transaction| transaction.execute(insert, values))?;
        Ok(())
    }

    /// Stores the verifying key of `program`.
    pub(crate) fn set_verifying_key(&self, program: &str, key: &str) -> Result<()> {
        let update = "UPDATE programs SET verifying_key = ?2 WHERE id = ?1";
        self.write(|transaction| transaction.execute(update, [program, key]))?;
        Ok(())
    }

    pub(crate) fn program(&self, id: &str) -> Result<Option<ProgramSummary>> {
        let select = "SELECT id, bytes, verifying_key, created FROM programs WHERE id = ?1";
        self.read(|connection| Ok(connection.query_row(select, [id], program_of).optional()?))
    }

    /// Returns the newest 1000 programs, newest first.
    pub(crate) fn programs(&self) -> Result<Vec<ProgramSummary>> {
        let select = "SELECT id, bytes, verifying_key, created FROM programs ORDER BY created DESC, id LIMIT 1000";
        self.read(|connection| {
            let programs = connection.prepare(select)?.query_map([], program_of)?.collect::<rusqlite::Result<_>>()?;
            Ok(programs)
        })
    }
}
