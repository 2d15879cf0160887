//! Accepts proof requests.

use super::{
    connection::Database,
    error::Result,
    events::add_first_event,
    rows::{COLUMNS, proof_of, signed, unsigned},
};
use crate::access::TenantName;
use rusqlite::{Connection, OptionalExtension, params};
use sp1d_model::{Moment, NewProof, ProofSummary};

/// Outcome of a proof request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SubmissionOutcome {
    /// A new proof was queued.
    New(ProofSummary),
    /// The same request with the same idempotency key was accepted before.
    Known(ProofSummary),
    /// A different request with the same idempotency key was accepted before.
    Other {
        /// Id of the proof of that request.
        proof: String,
        /// The fields that differ. Empty if another release wrote the request and this one cannot decode it.
        differences: Vec<&'static str>,
    },
}

/// Returns the names of the fields that differ.
fn differences(one: &NewProof, other: &NewProof) -> Vec<&'static str> {
    let fields = [
        ("program", one.program != other.program),
        ("input", one.input != other.input),
        ("mode", one.mode != other.mode),
        ("cycle_limit", one.cycle_limit != other.cycle_limit),
        ("gas_limit", one.gas_limit != other.gas_limit),
        ("timeout_seconds", one.timeout_seconds != other.timeout_seconds),
        ("priority", one.priority != other.priority),
        ("trusted_only", one.trusted_only != other.trusted_only),
        ("nonce", one.nonce != other.nonce),
    ];
    fields.into_iter().filter(|(_, differ)| *differ).map(|(name, _)| name).collect()
}

/// What a proof is of, besides the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewProofFields<'a> {
    /// The tenant that owns the proof.
    pub(crate) tenant: &'a str,
    pub(crate) program: &'a str,
    pub(crate) input: &'a str,
    /// Options that decide how the run is cut into shards.
    pub(crate) options: &'a str,
}

/// Returns the text of an idempotency key in the database. Tenants may use the same keys. A key contains no control
/// character, so that two tenants never have the same text.
fn stored_key(tenant: &str, key: &str) -> String {
    if tenant == TenantName::DEFAULT { key.to_owned() } else { format!("{tenant}\u{1f}{key}") }
}

/// A proof to store.
pub(super) struct AcceptedProof<'a> {
    pub(super) id: &'a str,
    pub(super) request: &'a NewProof,
    /// Address of the requester, if the request has one.
    pub(super) requester: Option<&'a str>,
    pub(super) fields: NewProofFields<'a>,
    /// The request with its program and input, as JSON.
    pub(super) text: &'a str,
    pub(super) now: Moment,
}

/// Returns `request` with its program and input, as JSON.
pub(super) fn whole_request(request: &NewProof, program: &str, input: &str) -> (NewProof, String) {
    let whole = NewProof { program: Some(program.to_owned()), input: Some(input.to_owned()), ..request.clone() };
    let text = serde_json::to_string(&whole).expect("a request can be serialized");
    (whole, text)
}

/// Stores a new proof in the state `queued`, with its first event.
pub(super) fn insert_proof(connection: &Connection, new: &AcceptedProof<'_>) -> rusqlite::Result<ProofSummary> {
    let AcceptedProof { id, request, requester, fields, text, now } = *new;
    let NewProofFields { tenant, program, input, options } = fields;
    let deadline = request.timeout_seconds.map(|seconds| now.plus_seconds(seconds).0);
    connection.execute(
        "INSERT INTO proofs (id, program, input, mode, state, priority, cycle_limit, gas_limit, nonce, options, idempotency_key, request, requester, created, deadline, trusted_only, tenant)
         VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        params![
            id,
            program,
            input,
            request.mode.name(),
            request.priority,
            request.cycle_limit.map(signed),
            request.gas_limit.map(signed),
            serde_json::to_string(&request.nonce).expect("a nonce can be serialized"),
            options,
            request.idempotency_key.as_deref().map(|key| stored_key(tenant, key)),
            text,
            requester,
            now.0,
            deadline,
            request.trusted_only,
            tenant,
        ],
    )?;
    let proof = connection.query_row(&format!("SELECT {COLUMNS} FROM proofs WHERE id = ?1"), [id], proof_of)?;
    add_first_event(connection, &proof)?;
    Ok(proof)
}

impl Database {
    /// Accepts a request at `now` for a proof of `fields`. A new proof is on disk when this returns.
    pub(crate) fn add_proof(
        &self,
        id: &str,
        request: &NewProof,
        fields: NewProofFields<'_>,
        now: Moment,
    ) -> Result<SubmissionOutcome> {
        let (whole, text) = whole_request(request, fields.program, fields.input);
        self.write(|transaction| {
            if let Some(key) = &request.idempotency_key {
                let select = format!("SELECT {COLUMNS}, request FROM proofs WHERE idempotency_key = ?1");
                let key = stored_key(fields.tenant, key);
                let known =
                    transaction.query_row(&select, [key], |row| Ok((proof_of(row)?, row.get::<_, String>("request")?)));
                match known.optional()? {
                    Some((proof, before)) if before == text => return Ok(SubmissionOutcome::Known(proof)),
                    Some((proof, before)) => {
                        let before = serde_json::from_str::<NewProof>(&before);
                        let differences = before.map(|before| differences(&before, &whole)).unwrap_or_default();
                        return Ok(SubmissionOutcome::Other { proof: proof.id, differences });
                    }
                    None => {}
                }
            }
            let new = AcceptedProof { id, request, requester: None, fields, text: &text, now };
            Ok(SubmissionOutcome::New(insert_proof(transaction, &new)?))
        })
    }

    /// Returns true if a request of `tenant` with this idempotency key was accepted before.
    pub(crate) fn knows_key(&self, tenant: &str, key: &str) -> Result<bool> {
        let select = "SELECT count(*) FROM proofs WHERE idempotency_key = ?1";
        self.read(|connection| Ok(connection.query_row(select, [stored_key(tenant, key)], |row| unsigned(row, 0))? > 0))
    }
}
