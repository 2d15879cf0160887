//! Converts between rows of the database and the types of the HTTP interface.

use rusqlite::{Row, types::Type};
use sp1d_model::{Moment, ProgramSummary, ProofMode, ProofState, ProofSummary};

/// Columns that [`proof_of`] reads.
pub(super) const COLUMNS: &str = "id, tenant, program, input, mode, state, priority, cycle_limit, gas_limit, trusted_only, nonce, created, started, ended, deadline, starts, tasks, cycles, gas, shards, result_bytes, workers, requester, failure";

/// Converts to the signed integers of SQLite. No value here comes close to the limit of `i64`.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &Row<'_>, index: impl rusqlite::RowIndex) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0))
}

fn optional(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(name)?.and_then(|number| u64::try_from(number).ok()))
}

pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("a record can be serialized")
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, name: &str) -> rusqlite::Result<T> {
    let text: String = row.get(name)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

fn named<T: Copy>(row: &Row<'_>, name: &str, all: &[T], name_of: impl Fn(T) -> &'static str) -> rusqlite::Result<T> {
    let text: String = row.get(name)?;
    let found = all.iter().copied().find(|one| name_of(*one) == text);
    found.ok_or_else(|| rusqlite::Error::InvalidColumnType(0, format!("{name} {text}"), Type::Text))
}

pub(super) fn program_of(row: &Row<'_>) -> rusqlite::Result<ProgramSummary> {
    Ok(ProgramSummary {
        id: row.get("id")?,
        bytes: unsigned(row, "bytes")?,
        verifying_key: Some(row.get("verifying_key")?).filter(|key: &String| !key.is_empty()),
        created: Moment(row.get("created")?),
    })
}

pub(super) fn proof_of(row: &Row<'_>) -> rusqlite::Result<ProofSummary> {
    let moment = |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.map(Moment));
    let failure: Option<String> = row.get("failure")?;
    Ok(ProofSummary {
        id: row.get("id")?,
        tenant: row.get("tenant")?,
        program: row.get("program")?,
        input: row.get("input")?,
        mode: named(row, "mode", &ProofMode::ALL, ProofMode::name)?,
        state: named(row, "state", &ProofState::ALL, ProofState::name)?,
        priority: row.get("priority")?,
        cycle_limit: optional(row, "cycle_limit")?,
        gas_limit: optional(row, "gas_limit")?,
        trusted_only: row.get("trusted_only")?,
        nonce: from_json(row, "nonce")?,
        created: Moment(row.get("created")?),
        started: moment("started")?,
        ended: moment("ended")?,
        deadline: moment("deadline")?,
        starts: row.get("starts")?,
        tasks: from_json(row, "tasks")?,
        cycles: optional(row, "cycles")?,
        gas: optional(row, "gas")?,
        shards: optional(row, "shards")?,
        proof_bytes: optional(row, "result_bytes")?,
        workers: from_json(row, "workers")?,
        requester: row.get("requester")?,
        failure: match failure {
            Some(_) => Some(from_json(row, "failure")?),
            None => None,
        },
    })
}
