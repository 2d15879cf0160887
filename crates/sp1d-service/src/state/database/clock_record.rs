//! The clock of the earlier runs.

use super::{
    connection::{Database, set_counter},
    error::Result,
};
use crate::state::clock::ClockRecord;
use rusqlite::{Connection, OptionalExtension};
use sp1d_model::Moment;

/// Counter with the last trusted time, in milliseconds since 1970.
const TRUSTED: &str = "clock_trusted";

/// Counter with the last time after an unconfirmed step.
const UNCONFIRMED: &str = "clock_unconfirmed";

fn time(connection: &Connection, name: &str) -> rusqlite::Result<Option<Moment>> {
    let select = "SELECT value FROM counters WHERE name = ?1";
    Ok(connection.query_row(select, [name], |row| row.get(0)).optional()?.map(Moment))
}

impl Database {
    /// Returns the clock of the earlier runs; `None` before the first record.
    pub(crate) fn clock(&self) -> Result<Option<ClockRecord>> {
        self.read(|connection| {
            let Some(trusted) = time(connection, TRUSTED)? else { return Ok(None) };
            Ok(Some(ClockRecord { trusted, unconfirmed: time(connection, UNCONFIRMED)? }))
        })
    }

    /// Records the clock for the next run.
    pub(crate) fn record_clock(&self, record: &ClockRecord) -> Result<()> {
        self.write(|transaction| {
            set_counter(transaction, TRUSTED, record.trusted.0)?;
            match record.unconfirmed {
                Some(time) => set_counter(transaction, UNCONFIRMED, time.0),
                None => transaction.execute("DELETE FROM counters WHERE name = ?1", [UNCONFIRMED]).map(drop),
            }
        })
    }
}
