//! The events of proofs.

use super::{
    connection::Database,
    error::Result,
    rows::{from_json, signed, to_json, unsigned},
};
use rusqlite::{Connection, params};
use sp1d_model::{EventRecord, ProofEvent, ProofSummary};

impl Database {
    /// Stores events of proofs, either all of them or none.
    pub(crate) fn add_events(&self, events: &[(String, EventRecord)]) -> Result<()> {
        self.write(|transaction| events.iter().try_for_each(|(proof, record)| add_event(transaction, proof, record)))
    }

    /// Returns the events of a proof after number `after`, in order and at most `limit`.
    pub(crate) fn events(&self, proof: &str, after: u64, limit: u32) -> Result<Vec<EventRecord>> {
        self.read(|connection| Ok(events(connection, proof, after, limit)?))
    }

    /// Returns the number of the last event of a proof, or 0 if the proof has no events.
    pub(crate) fn last_event(&self, proof: &str) -> Result<u64> {
        self.read(|connection| Ok(last_event(connection, proof)?))
    }
}

fn events(connection: &Connection, proof: &str, after: u64, limit: u32) -> rusqlite::Result<Vec<EventRecord>> {
    let mut select = connection.prepare_cached(
        "SELECT number, record FROM events WHERE proof = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
    )?;
    let mut after = after;
    loop {
        let rows = select.query_map(params![proof, signed(after), limit], |row| {
            Ok((unsigned(row, "number")?, from_json(row, "record")))
        })?;
        let rows = rows.collect::<rusqlite::Result<Vec<(u64, rusqlite::Result<EventRecord>)>>>()?;
        let Some((last, _)) = rows.last() else { return Ok(Vec::new()) };
        after = *last;
        let readable = rows.into_iter().filter_map(|(number, record)| match record {
            Ok(record) => Some(record),
            // A later release may have stored a task kind that this one does not know.
            Err(error) => {
                tracing::warn!(proof_id = proof, number, %error, "cannot read an event of a proof; it is left out");
                None
            }
        });
        let found: Vec<EventRecord> = readable.collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
}

fn last_event(connection: &Connection, proof: &str) -> rusqlite::Result<u64> {
    let select = "SELECT coalesce(max(number), 0) FROM events WHERE proof = ?1";
    connection.query_row(select, [proof], |row| unsigned(row, 0))
}

/// Stores an event, unless the proof already has an event with this number. Drops the event if the proof was removed in
/// the meantime.
fn add_event(connection: &Connection, proof: &str, record: &EventRecord) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT OR IGNORE INTO events (proof, number, record) SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM proofs WHERE id = ?1)",
    )?;
    insert.execute(params![proof, signed(record.number), to_json(record)])?;
    Ok(())
}

/// Stores the first event of a new proof. Belongs into the transaction that accepts the proof.
pub(super) fn add_first_event(connection: &Connection, proof: &ProofSummary) -> rusqlite::Result<()> {
    add_event(connection, &proof.id, &EventRecord { number: 1, at: proof.created, event: ProofEvent::Queued })
}

/// Stores the last event of the ended `proof`. Belongs into the transaction that ends the proof, so that each reader
/// that sees the final state also sees the event. All earlier events of the proof must be stored before.
pub(super) fn add_last_event(connection: &Connection, proof: &ProofSummary) -> rusqlite::Result<()> {
    let number = last_event(connection, &proof.id)? + 1;
    let at = proof.ended.unwrap_or(proof.created);
    let event = ProofEvent::Finished { state: proof.state, failure: proof.failure.clone() };
    add_event(connection, &proof.id, &EventRecord { number, at, event })
}
