//! The states of a proof, from the queue to its end.

use super::{
    connection::Database,
    error::Result,
    events::add_last_event,
    quotas::waiting_tenants,
    rows::{COLUMNS, proof_of, signed, to_json},
    suspects::{crash_evidence, time_alone},
};
use crate::{access::next_tenant, state::clock::ProofTimes};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use sp1d_model::{FailureInfo, Moment, ProofFailureKind, ProofState, ProofSummary, TaskCounts, WorkerTasks};
use std::time::Duration;

/// A proof to run, with the options for cutting its run into shards, which clients do not see.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProofJob {
    pub(crate) proof: ProofSummary,
    pub(crate) options: String,
    /// How long it must run alone, because it may be the cause of a crash of the service.
    pub(crate) alone: Option<Duration>,
}

/// How a proof ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ProofOutcome {
    Done { cycles: u64, gas: Option<u64>, shards: u64, result: String, result_bytes: u64, workers: Vec<WorkerTasks> },
    Failed(FailureInfo),
    Cancelled,
}

impl ProofOutcome {
    pub(crate) const fn state(&self) -> ProofState {
        match self {
            Self::Done { .. } => ProofState::Done,
            Self::Failed(_) => ProofState::Failed,
            Self::Cancelled => ProofState::Cancelled,
        }
    }
}

impl Database {
    /// Marks the next queued proof as running and returns it: the strongest suspect of a crash, whichever tenant it
    /// has, or else a proof of the tenant whose turn it is (see [`next_tenant`]), one of the highest priority. Among
    /// these, the requester comes first whose last start is the longest ago, and then the oldest proof of this
    /// requester. All requests of a tenant without a requester count as those of one. `None` if no queued proof may
    /// start.
    pub(crate) fn start_next(&self, now: Moment) -> Result<Option<ProofJob>> {
        let start = format!(
            "UPDATE proofs SET state = 'running', started = ?1, starts = starts + 1
             WHERE number = (SELECT number FROM proofs WHERE state = 'queued' AND (suspect = 1 OR tenant = ?2)
                             ORDER BY suspect DESC, suspicion * suspect DESC, priority DESC,
                                      (SELECT max(other.started) FROM proofs AS other
                                       WHERE other.tenant = proofs.tenant AND other.requester IS proofs.requester),
                                      number LIMIT 1)
             RETURNING {COLUMNS}, options, suspect, suspicion"
        );
        let job = |row: &Row<'_>| {
            let suspicion: u32 = row.get("suspicion")?;
            let alone = row.get::<_, bool>("suspect")?.then(|| time_alone(suspicion));
            Ok(ProofJob { proof: proof_of(row)?, options: row.get("options")?, alone })
        };
        self.write(|transaction| {
            let waiting = waiting_tenants(transaction)?;
            let tenant = next_tenant(&waiting).map(|tenant| tenant.name.as_str());
            transaction.query_row(&start, params![now.0, tenant], job).optional()
        })
    }

    /// Stores the options that decide how the run of a proof is cut into shards, for its next start.
    pub(crate) fn set_options(&self, id: &str, options: &str) -> Result<()> {
        self.write(|transaction| transaction.execute("UPDATE proofs SET options = ?2 WHERE id = ?1", [id, options]))?;
        Ok(())
    }

    /// Queues a running proof again when the service shuts down. This does not count as a crash.
    pub(crate) fn put_back(&self, id: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("UPDATE proofs SET state = 'queued' WHERE id = ?1 AND state = 'running'", [id])
        })?;
        Ok(())
    }

    /// Records that a suspect has run alone for long enough.
    pub(crate) fn end_suspicion(&self, id: &str) -> Result<()> {
        self.write(|transaction| transaction.execute("UPDATE proofs SET suspect = 0 WHERE id = ?1", [id]))?;
        Ok(())
    }

    /// Queues the proofs again that were running when an earlier process crashed, and returns their number. They are
    /// suspects of the crash. A proof fails after `max_crashes` crashes while it ran alone, because it is their cause.
    pub(crate) fn requeue_running(&self, max_crashes: u32, now: Moment) -> Result<usize> {
        let failure = FailureInfo {
            kind: ProofFailureKind::Machine,
            text: format!(
                "the service crashed {max_crashes} times while only this proof was running; it is not retried again\nhint: check whether the machine of the service has enough memory for this proof"
            ),
        };
        self.write(|transaction| {
            add_crash(transaction)?;
            fail(transaction, "state = 'running' AND crashes >= ?3", params![now.0, to_json(&failure), max_crashes])?;
            transaction.execute("UPDATE proofs SET state = 'queued' WHERE state = 'running'", [])
        })
    }

    /// Ends all queued proofs whose deadline has passed, with `failure` as their reason, and returns their ids.
    pub(crate) fn fail_expired(&self, failure: &FailureInfo, times: &ProofTimes) -> Result<Vec<String>> {
        let expired = "state = 'queued' AND deadline <= iif(created < ?3, ?4, ?1)";
        self.write(|transaction| {
            let values = params![times.now.0, to_json(failure), times.since.0, times.cautious.0];
            fail(transaction, expired, values)
        })
    }

    /// Returns true if the deadline of a queued proof has passed.
    pub(crate) fn has_expired(&self, times: &ProofTimes) -> Result<bool> {
        let select =
            "SELECT EXISTS (SELECT 1 FROM proofs WHERE state = 'queued' AND deadline <= iif(created < ?2, ?3, ?1))";
        let values = [times.now.0, times.since.0, times.cautious.0];
        self.read(|connection| Ok(connection.query_row(select, values, |row| row.get(0))?))
    }

    /// Cancels a queued proof and returns its new record. `None` if the proof is not in the queue.
    pub(crate) fn cancel_queued(&self, id: &str, now: Moment) -> Result<Option<ProofSummary>> {
        let cancel = format!(
            "UPDATE proofs SET state = 'cancelled', ended = ?2 WHERE id = ?1 AND state = 'queued' RETURNING {COLUMNS}"
        );
        self.write(|transaction| end_one(transaction, &cancel, params![id, now.0]))
    }

    /// Ends a queued or running proof and returns its new record. `None` if the proof has already ended or is unknown.
    pub(crate) fn end(
        &self,
        id: &str,
        outcome: &ProofOutcome,
        tasks: TaskCounts,
        now: Moment,
    ) -> Result<Option<ProofSummary>> {
        let (mut cycles, mut gas, mut shards, mut result, mut bytes, mut workers, mut failure) =
            (None, None, None, None, None, &Vec::new(), None);
        match outcome {
            ProofOutcome::Done { cycles: c, gas: g, shards: s, result: r, result_bytes: b, workers: w } => {
                (cycles, gas, shards, result, bytes, workers) =
                    (Some(signed(*c)), g.map(signed), Some(signed(*s)), Some(r), Some(signed(*b)), w);
            }
            ProofOutcome::Failed(info) => failure = Some(to_json(info)),
            ProofOutcome::Cancelled => {}
        }
        let end = format!(
            "UPDATE proofs SET state = ?2, ended = ?3, cycles = ?4, shards = ?5, result = ?6, result_bytes = ?7, workers = ?8, failure = ?9, tasks = ?10, gas = ?11
             WHERE id = ?1 AND state IN ('queued', 'running') RETURNING {COLUMNS}"
        );
        let values = params![
            id,
            outcome.state().name(),
            now.0,
            cycles,
            shards,
            result,
            bytes,
            to_json(workers),
            failure,
            to_json(&tasks),
            gas
        ];
        self.write(|transaction| end_one(transaction, &end, values))
    }
}

/// Records a crash for all proofs that were running.
fn add_crash(connection: &Connection) -> rusqlite::Result<()> {
    let mut select = connection.prepare("SELECT number, suspect FROM proofs WHERE state = 'running'")?;
    let running = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let running = running.collect::<rusqlite::Result<Vec<(i64, bool)>>>()?;
    for (number, was_suspect) in &running {
        let evidence = crash_evidence(running.len(), *was_suspect);
        connection.execute(
            "UPDATE proofs SET suspect = 1, suspicion = suspicion + ?2, crashes = crashes + ?3 WHERE number = ?1",
            params![number, evidence.suspicion, evidence.is_own],
        )?;
    }
    Ok(())
}

/// Fails the proofs that match `condition`, and returns their ids. The first two of `values` are the time in
/// milliseconds since 1970, and the failure in JSON.
fn fail(connection: &Connection, condition: &str, values: impl Params) -> rusqlite::Result<Vec<String>> {
    let mut update = connection.prepare(&format!(
        "UPDATE proofs SET state = 'failed', ended = ?1, failure = ?2 WHERE {condition} RETURNING {COLUMNS}"
    ))?;
    let failed: Vec<ProofSummary> = update.query_map(values, proof_of)?.collect::<rusqlite::Result<_>>()?;
    failed.iter().try_for_each(|proof| add_last_event(connection, proof))?;
    Ok(failed.into_iter().map(|proof| proof.id).collect())
}

/// Runs an `update` that ends at most one proof, and returns the proof's new record.
fn end_one(connection: &Connection, update: &str, values: impl Params) -> rusqlite::Result<Option<ProofSummary>> {
    let ended = connection.query_row(update, values, proof_of).optional()?;
    if let Some(proof) = &ended {
        add_last_event(connection, proof)?;
    }
    Ok(ended)
}
