//! The tables of the interface for sp1-sdk's network client: its requests, its uploads and its used nonces.

use super::{
    connection::{Database, set_counter},
    error::Result,
    rows::{COLUMNS, proof_of, signed, unsigned},
    submissions::{AcceptedProof, NewProofFields, SubmissionOutcome, insert_proof, whole_request},
};
use rusqlite::{OptionalExtension, Row, params};
use sp1d_model::{Moment, NewProof};

/// Name of the counter below which all nonces count as used.
const NONCE_FLOOR: &str = "nonce_floor";

/// A request of sp1-sdk's network client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostedRequest {
    /// Its id: 32 bytes in hexadecimal digits. A client that knows the id may see the request.
    pub(crate) id: String,
    /// Address of the requester.
    pub(crate) requester: String,
    /// Hash of the program's verifying key, as the client sends it: 32 bytes in hexadecimal digits.
    pub(crate) program_hash: String,
    /// Deadline in seconds since 1970.
    pub(crate) deadline: u64,
    /// Whether the client has marked its input as private.
    pub(crate) private: bool,
}

/// An upload of sp1-sdk's network client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostedArtifact {
    pub(crate) id: String,
    /// Address of the requester who uploaded it.
    pub(crate) requester: String,
    pub(crate) kind: String,
    /// Digest of the file.
    pub(crate) blob: String,
    pub(crate) expires: Moment,
}

/// Whether a nonce may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonceOutcome {
    /// The nonce was not used before, and counts as used from now on.
    New,
    /// The nonce was used before, or is too old to tell.
    Used,
    /// The requester has used too many nonces lately.
    TooMany,
}

fn artifact_of(row: &Row<'_>) -> rusqlite::Result<HostedArtifact> {
    Ok(HostedArtifact {
        id: row.get("id")?,
        requester: row.get("requester")?,
        kind: row.get("kind")?,
        blob: row.get("blob")?,
        expires: Moment(row.get("expires")?),
    })
}

impl Database {
    /// Returns the secret `name`. Stores `new` if the secret is missing.
    pub(crate) fn secret(&self, name: &str, new: [u8; 32]) -> Result<[u8; 32]> {
        self.write(|transaction| {
            let insert = "INSERT INTO secrets (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            transaction.execute(insert, params![name, new.as_slice()])?;
            transaction.query_row("SELECT value FROM secrets WHERE name = ?1", [name], |row| row.get(0))
        })
    }

    /// Returns the nonce below which all nonces count as used.
    pub(crate) fn nonce_floor(&self) -> Result<u64> {
        let select = "SELECT coalesce(max(value), 0) FROM counters WHERE name = ?1";
        self.read(|connection| Ok(connection.query_row(select, [NONCE_FLOOR], |row| unsigned(row, 0))?))
    }

    /// Uses a nonce of `requester`. All nonces up to `oldest` count as used from now on. A requester may use `max`
    /// nonces above that.
    pub(crate) fn use_nonce(&self, requester: &str, nonce: u64, oldest: u64, max: u64) -> Result<NonceOutcome> {
        // A larger number is not a time of the next 290,000 years.
        let Ok(nonce) = i64::try_from(nonce) else { return Ok(NonceOutcome::Used) };
        self.write(|transaction| {
            let select = "SELECT coalesce(max(value), 0) FROM counters WHERE name = ?1";
            let floor: i64 = transaction.query_row(select, [NONCE_FLOOR], |row| row.get(0))?;
            let floor = floor.max(signed(oldest));
            set_counter(transaction, NONCE_FLOOR, floor)?;
            transaction.execute("DELETE FROM hosted_nonces WHERE nonce <= ?1", [floor])?;
            if nonce <= floor {
                return Ok(NonceOutcome::Used);
            }
            let count = "SELECT count(*) FROM hosted_nonces WHERE requester = ?1";
            if transaction.query_row(count, [requester], |row| unsigned(row, 0))? >= max {
                return Ok(NonceOutcome::TooMany);
            }
            let insert = "INSERT INTO hosted_nonces (requester, nonce) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            let inserted = transaction.execute(insert, params![requester, nonce])?;
            Ok(if inserted == 1 { NonceOutcome::New } else { NonceOutcome::Used })
        })
    }

    /// Stores an upload, unless the upload is stored already. Returns the stored upload, or `None` if the requester has
    /// `max` uploads. Removes what has expired at `now`.
    pub(crate) fn add_artifact(&self, new: &HostedArtifact, now: Moment, max: u64) -> Result<Option<HostedArtifact>> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM hosted_artifacts WHERE expires <= ?1", [now.0])?;
            let select = "SELECT * FROM hosted_artifacts WHERE id = ?1";
            if let Some(known) = transaction.query_row(select, [&new.id], artifact_of).optional()? {
                return Ok(Some(known));
            }
            let count = "SELECT count(*) FROM hosted_artifacts WHERE requester = ?1";
            if transaction.query_row(count, [&new.requester], |row| unsigned(row, 0))? >= max {
                return Ok(None);
            }
            let insert =
                "INSERT INTO hosted_artifacts (id, requester, kind, blob, expires) VALUES (?1, ?2, ?3, ?4, ?5)";
            let values = params![new.id, new.requester, new.kind, new.blob, new.expires.0];
            transaction.execute(insert, values)?;
            Ok(Some(new.clone()))
        })
    }

    /// Returns the upload `id`, unless it has expired at `now`.
    pub(crate) fn artifact(&self, id: &str, now: Moment) -> Result<Option<HostedArtifact>> {
        let select = "SELECT * FROM hosted_artifacts WHERE id = ?1 AND expires > ?2";
        self.read(|connection| Ok(connection.query_row(select, params![id, now.0], artifact_of).optional()?))
    }

    /// Returns the id of the program of `tenant` with this verifying key.
    pub(crate) fn program_with_key(&self, tenant: &str, key: &str) -> Result<Option<String>> {
        let select = "SELECT program FROM tenant_programs WHERE tenant = ?1 AND verifying_key = ?2 ORDER BY created DESC LIMIT 1";
        self.read(|connection| Ok(connection.query_row(select, [tenant, key], |row| row.get(0)).optional()?))
    }

    /// Returns the request `id` and the id of its proof.
    pub(crate) fn hosted_request(&self, id: &str) -> Result<Option<(HostedRequest, String)>> {
        let select = "SELECT hosted_requests.*, requester FROM hosted_requests JOIN proofs ON proofs.id = proof WHERE hosted_requests.id = ?1";
        let request = |row: &Row<'_>| {
            let request = HostedRequest {
                id: row.get(0)?,
                requester: row.get("requester")?,
                program_hash: row.get("program_hash")?,
                deadline: unsigned(row, "deadline")?,
                private: row.get("private")?,
            };
            Ok((request, row.get("proof")?))
        };
        self.read(|connection| Ok(connection.query_row(select, [id], request).optional()?))
    }

    /// Accepts `hosted` as a proof of `fields`. A new proof is on disk when this returns. A request with
    /// the same id is the same request.
    pub(crate) fn add_hosted_proof(
        &self,
        id: &str,
        request: &NewProof,
        hosted: &HostedRequest,
        fields: NewProofFields<'_>,
        now: Moment,
    ) -> Result<SubmissionOutcome> {
        let (_, text) = whole_request(request, fields.program, fields.input);
        let requester = Some(hosted.requester.as_str());
        let new = AcceptedProof { id, request, requester, fields, text: &text, now };
        self.write(|transaction| {
            let known = format!(
                "SELECT {COLUMNS} FROM proofs WHERE id = (SELECT proof FROM hosted_requests WHERE hosted_requests.id = ?1)"
            );
            if let Some(known) = transaction.query_row(&known, [&hosted.id], proof_of).optional()? {
                return Ok(SubmissionOutcome::Known(known));
            }
            let proof = insert_proof(transaction, &new)?;
            let insert = "INSERT INTO hosted_requests (id, proof, program_hash, deadline, private) VALUES (?1, ?2, ?3, ?4, ?5)";
            let values = params![hosted.id, id, hosted.program_hash, signed(hosted.deadline), hosted.private];
            transaction.execute(insert, values)?;
            Ok(SubmissionOutcome::New(proof))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_model::ProgramSummary;

    const NOW: Moment = Moment(1_800_000_000_000);

    fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("service.db"), true).unwrap();
        let program =
            ProgramSummary { id: "p".into(), bytes: 1, verifying_key: Some("0x1".into()), created: Moment(0) };
        database.add_program("default", &program).unwrap();
        (folder, database)
    }

    fn add(database: &Database, number: u32, requester: &str) -> SubmissionOutcome {
        let hosted = HostedRequest {
            id: format!("request-{number}"),
            requester: requester.to_owned(),
            program_hash: "hash".to_owned(),
            deadline: 1_800_000_060,
            private: true,
        };
        let fields = NewProofFields { tenant: "default", program: "p", input: "i", options: "{}" };
        let id = format!("{requester}{number}");
        database.add_hosted_proof(&id, &NewProof::default(), &hosted, fields, NOW).unwrap()
    }

    #[test]
    fn nonce_is_used_once_and_old_nonces_count_as_used() {
        let (_folder, database) = database();
        // Requester, nonce, the largest nonce that counts as used anyway, and the outcome.
        let steps = [
            ("a", 100, 0, NonceOutcome::New),
            ("a", 100, 0, NonceOutcome::Used),
            ("b", 100, 0, NonceOutcome::New),
            ("a", 99, 0, NonceOutcome::New),
            ("a", 101, 0, NonceOutcome::TooMany),
            ("a", 99, 99, NonceOutcome::Used),
            ("a", 101, 99, NonceOutcome::New),
            // The floor never falls, also if the clock is set back.
            ("c", 50, 0, NonceOutcome::Used),
            ("c", u64::MAX, 0, NonceOutcome::Used),
        ];
        for (at, (requester, nonce, oldest, expected)) in steps.into_iter().enumerate() {
            assert_eq!(database.use_nonce(requester, nonce, oldest, 2).unwrap(), expected, "step {at}");
        }
        assert_eq!(database.nonce_floor().unwrap(), 99);
    }

    #[test]
    fn repeated_request_is_the_same_proof() {
        let (_folder, database) = database();
        let SubmissionOutcome::New(proof) = add(&database, 1, "a") else { panic!("the request is new") };
        assert_eq!(proof.requester.as_deref(), Some("a"));
        assert_eq!(add(&database, 1, "a"), SubmissionOutcome::Known(proof.clone()));
        let (request, id) = database.hosted_request("request-1").unwrap().unwrap();
        assert_eq!((id, request.requester.as_str(), request.private), (proof.id, "a", true));
        assert_eq!(database.hosted_request("request-2").unwrap(), None);
    }

    #[test]
    fn requesters_take_turns() {
        let (_folder, database) = database();
        for number in 0..3 {
            add(&database, number, "a");
        }
        add(&database, 3, "b");
        add(&database, 4, "c");
        add(&database, 5, "b");
        let mut at = NOW;
        let order: Vec<String> = std::iter::from_fn(|| {
            at = at.plus_seconds(1);
            database.start_next(at).unwrap().map(|job| job.proof.id)
        })
        .collect();
        assert_eq!(order, ["a0", "b3", "c4", "a1", "b5", "a2"]);
    }

    #[test]
    fn requesters_take_turns_within_their_tenant() {
        let (_folder, database) = database();
        let add_plain = |id: &str, tenant: &str| {
            let fields = NewProofFields { tenant, program: "p", input: "i", options: "{}" };
            database.add_proof(id, &NewProof::default(), fields, NOW).unwrap();
        };
        let start = |seconds| database.start_next(NOW.plus_seconds(seconds)).unwrap().unwrap().proof.id;
        add_plain("plain-1", "default");
        assert_eq!(start(1), "plain-1");
        add(&database, 1, "a");
        assert_eq!(start(2), "a1");
        add_plain("other", "other");
        assert_eq!(start(3), "other");
        // Like the proof of the other tenant, the second one has no requester. The last start of its tenant without a
        // requester is before that of `a`.
        add(&database, 2, "a");
        add_plain("plain-2", "default");
        assert_eq!([start(4), start(5)], ["plain-2", "a2"]);
    }

    #[test]
    fn uploads_expire_and_are_limited_per_requester() {
        let (_folder, database) = database();
        let upload = |id: &str, requester: &str, blob: &str| HostedArtifact {
            id: id.to_owned(),
            requester: requester.to_owned(),
            kind: "stdin".to_owned(),
            blob: blob.to_owned(),
            expires: NOW.plus_seconds(10),
        };
        let first = upload("1", "a", "blob");
        assert_eq!(database.add_artifact(&first, NOW, 1).unwrap(), Some(first.clone()));
        assert_eq!(database.add_artifact(&upload("1", "a", "other"), NOW, 1).unwrap(), Some(first.clone()));
        assert_eq!(database.add_artifact(&upload("2", "a", "blob"), NOW, 1).unwrap(), None);
        assert!(database.add_artifact(&upload("3", "b", "blob"), NOW, 1).unwrap().is_some());
        assert_eq!(database.artifact("1", NOW).unwrap(), Some(first));
        let later = NOW.plus_seconds(10);
        assert_eq!(database.artifact("1", later).unwrap(), None);
        assert!(database.add_artifact(&upload("2", "a", "blob"), later, 1).unwrap().is_some());
    }

    #[test]
    fn secret_is_made_once() {
        let (_folder, database) = database();
        assert_eq!(database.secret("one", [1; 32]).unwrap(), [1; 32]);
        assert_eq!(database.secret("one", [2; 32]).unwrap(), [1; 32]);
    }
}
