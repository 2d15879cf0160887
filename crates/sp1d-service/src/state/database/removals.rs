//! Deletes proofs, and remembers what must be removed for them until it is removed.

use super::{
    connection::Database,
    error::Result,
    rows::{COLUMNS, proof_of},
};
use rusqlite::{OptionalExtension, Row, params};
use sp1d_model::{ProofState, ProofSummary};

/// What became of the deletion of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeletionOutcome {
    Deleted,
    /// The proof does not exist, perhaps because it was deleted before.
    Unknown,
    /// The proof is in this state, which is not final.
    NotEnded(ProofState),
}

/// What is left to remove of a deleted proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RemovalKind {
    /// A file: an input or a finished proof.
    Blob,
    /// The results in the result cache that were made for an input.
    CachedResults,
}

impl RemovalKind {
    const ALL: [Self; 2] = [Self::Blob, Self::CachedResults];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::CachedResults => "cached_results",
        }
    }
}

/// A removal that may not be complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingRemoval {
    pub(crate) kind: RemovalKind,
    /// Digest of the file, or of the input.
    pub(crate) digest: String,
}

impl Database {
    /// Deletes a proof that has ended, with its events. The same transaction records what is left to remove, so that a
    /// removal that is interrupted is continued later.
    ///
    /// With a `tenant`, a proof of another tenant is unknown. The tenant of the proof loses the input, unless another
    /// proof of that tenant has it.
    pub(crate) fn delete_ended(&self, tenant: Option<&str>, id: &str) -> Result<DeletionOutcome> {
        let select = format!("SELECT {COLUMNS}, result FROM proofs WHERE id = ?1 AND tenant = coalesce(?2, tenant)");
        let found = |row: &Row<'_>| Ok((proof_of(row)?, row.get("result")?));
        self.write(|transaction| {
            let found = transaction.query_row(&select, params![id, tenant], found).optional()?;
            let Some((proof, result)): Option<(ProofSummary, Option<String>)> = found else {
                return Ok(DeletionOutcome::Unknown);
            };
            if !proof.state.is_final() {
                return Ok(DeletionOutcome::NotEnded(proof.state));
            }
            transaction.execute("DELETE FROM proofs WHERE id = ?1", [id])?;
            let (owner, input) = (proof.tenant, proof.input);
            let uses = "DELETE FROM tenant_inputs WHERE tenant = ?1 AND input = ?2 AND NOT EXISTS (SELECT 1 FROM proofs WHERE tenant = ?1 AND input = ?2)";
            transaction.execute(uses, [&owner, &input])?;
            // An upload of sp1-sdk's network client must not name a file that is removed. The file of an input that
            // another tenant has uploaded stays.
            let uploads = "DELETE FROM hosted_artifacts WHERE blob = ?1 AND NOT EXISTS (SELECT 1 FROM proofs WHERE input = ?1) AND NOT EXISTS (SELECT 1 FROM tenant_inputs WHERE input = ?1)";
            transaction.execute(uploads, [&input])?;
            let blobs = result.into_iter().chain([input.clone()]).map(|digest| (RemovalKind::Blob, digest));
            for (kind, digest) in blobs.chain([(RemovalKind::CachedResults, input)]) {
                let insert = "INSERT INTO removals (kind, digest) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
                transaction.execute(insert, [kind.name(), digest.as_str()])?;
            }
            Ok(DeletionOutcome::Deleted)
        })
    }

    /// Returns the removals that may not be complete.
    pub(crate) fn removals(&self) -> Result<Vec<PendingRemoval>> {
        self.read(|connection| {
            let mut select = connection.prepare("SELECT kind, digest FROM removals")?;
            let rows = select.query_map([], |row| Ok((row.get::<_, String>("kind")?, row.get("digest")?)))?;
            let rows = rows.collect::<rusqlite::Result<Vec<(String, String)>>>()?;
            let known = |(name, digest): (String, String)| {
                let kind = RemovalKind::ALL.into_iter().find(|kind| kind.name() == name)?;
                Some(PendingRemoval { kind, digest })
            };
            Ok(rows.into_iter().filter_map(known).collect())
        })
    }

    /// Forgets a removal that is complete.
    pub(crate) fn end_removal(&self, removal: &PendingRemoval) -> Result<()> {
        let delete = "DELETE FROM removals WHERE kind = ?1 AND digest = ?2";
        self.write(|transaction| transaction.execute(delete, [removal.kind.name(), removal.digest.as_str()]))?;
        Ok(())
    }

    /// Returns true if a proof of any tenant has this input.
    pub(crate) fn is_input_of_proof(&self, input: &str) -> Result<bool> {
        self.exists("SELECT EXISTS (SELECT 1 FROM proofs WHERE input = ?1)", input)
    }

    /// Returns true if a program or a proof refers to the file with this digest.
    pub(crate) fn is_needed_blob(&self, digest: &str) -> Result<bool> {
        let select = "SELECT EXISTS (SELECT 1 FROM programs WHERE id = ?1) OR EXISTS (SELECT 1 FROM proofs WHERE input = ?1) OR EXISTS (SELECT 1 FROM proofs WHERE result = ?1)";
        self.exists(select, digest)
    }

    /// Returns true if any tenant may use this input.
    pub(crate) fn is_input_of_tenant(&self, input: &str) -> Result<bool> {
        self.exists("SELECT EXISTS (SELECT 1 FROM tenant_inputs WHERE input = ?1)", input)
    }

    fn exists(&self, select: &str, digest: &str) -> Result<bool> {
        self.read(|connection| Ok(connection.query_row(select, [digest], |row| row.get(0))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::database::{HostedArtifact, NewProofFields, ProofOutcome};
    use sp1d_model::{Moment, NewProof, ProgramSummary, TaskCounts};
    use std::time::Duration;

    const NOW: Moment = Moment(1_800_000_000_000);

    fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("service.db"), true).unwrap();
        let program = ProgramSummary { id: "p".into(), bytes: 1, verifying_key: None, created: Moment(0) };
        database.add_program("default", &program).unwrap();
        (folder, database)
    }

    fn fields<'a>(tenant: &'a str, input: &'a str) -> NewProofFields<'a> {
        NewProofFields { tenant, program: "p", input, options: "{}" }
    }

    fn add(database: &Database, id: &str, input: &str) {
        database.add_proof(id, &NewProof::default(), fields("default", input), NOW).unwrap();
    }

    fn end(database: &Database, id: &str) {
        let (result, workers) = (format!("result of {id}"), Vec::new());
        let done = ProofOutcome::Done { cycles: 1, gas: None, shards: 1, result, result_bytes: 1, workers };
        database.end(id, &done, TaskCounts::default(), NOW).unwrap().unwrap();
    }

    fn pending(database: &Database) -> Vec<(RemovalKind, String)> {
        database.removals().unwrap().into_iter().map(|removal| (removal.kind, removal.digest)).collect()
    }

    #[test]
    fn only_an_ended_proof_is_deleted_and_only_once() {
        let (_folder, database) = database();
        add(&database, "a", "i");
        assert_eq!(database.delete_ended(None, "a").unwrap(), DeletionOutcome::NotEnded(ProofState::Queued));
        database.start_next(NOW).unwrap().unwrap();
        assert_eq!(database.delete_ended(None, "a").unwrap(), DeletionOutcome::NotEnded(ProofState::Running));
        assert_eq!(pending(&database), []);
        end(&database, "a");
        assert_eq!(database.delete_ended(None, "a").unwrap(), DeletionOutcome::Deleted);
        assert_eq!(database.delete_ended(None, "a").unwrap(), DeletionOutcome::Unknown);
        assert_eq!((database.proof("a").unwrap(), database.events("a", 0, 9).unwrap()), (None, vec![]));
    }

    #[test]
    fn what_is_left_to_remove_is_known_until_it_is_removed() {
        let (folder, database) = database();
        add(&database, "a", "i");
        end(&database, "a");
        database.delete_ended(None, "a").unwrap();
        // As after a crash.
        drop(database);
        let database = Database::open(&folder.path().join("service.db"), false).unwrap();
        let expected = [
            (RemovalKind::Blob, "i".to_owned()),
            (RemovalKind::Blob, "result of a".to_owned()),
            (RemovalKind::CachedResults, "i".to_owned()),
        ];
        assert_eq!(pending(&database), expected);
        for removal in database.removals().unwrap() {
            database.end_removal(&removal).unwrap();
        }
        assert_eq!(pending(&database), []);
    }

    #[test]
    fn uploads_of_an_input_stay_while_another_proof_has_it() {
        let (_folder, database) = database();
        let upload = HostedArtifact {
            id: "upload".into(),
            requester: "requester".into(),
            kind: "stdin".into(),
            blob: "i".into(),
            expires: NOW.plus_seconds(10),
        };
        database.add_artifact(&upload, NOW, 1).unwrap().unwrap();
        for id in ["a", "b"] {
            add(&database, id, "i");
            end(&database, id);
        }
        for (id, has_input) in [("a", true), ("b", false)] {
            database.delete_ended(None, id).unwrap();
            assert_eq!(database.is_input_of_proof("i").unwrap(), has_input, "{id}");
            assert_eq!(database.artifact("upload", NOW).unwrap().is_some(), has_input, "{id}");
        }
    }

    #[test]
    fn deleted_rows_leave_no_text_in_the_files() {
        let (folder, database) = database();
        let marker = "a marker that no other row contains";
        let request = NewProof { idempotency_key: Some(marker.to_owned()), ..NewProof::default() };
        database.add_proof("a", &request, fields("default", "i"), NOW).unwrap();
        let contains = || {
            let files = std::fs::read_dir(folder.path()).unwrap().flatten();
            let mut contents = files.map(|file| std::fs::read(file.path()).unwrap());
            contents.any(|content| content.windows(marker.len()).any(|part| part == marker.as_bytes()))
        };
        end(&database, "a");
        assert!(contains());
        database.delete_ended(None, "a").unwrap();
        database.shrink().unwrap();
        assert!(!contains());
    }

    #[test]
    fn a_deletion_finds_what_it_looks_up_through_an_index() {
        let (_folder, database) = database();
        for column in ["input", "result"] {
            let explain = format!("EXPLAIN QUERY PLAN SELECT EXISTS (SELECT 1 FROM proofs WHERE {column} = ?1)");
            let plan = database.read(|connection| {
                let mut explain = connection.prepare(&explain)?;
                let steps = explain.query_map(["digest"], |row| row.get::<_, String>("detail"))?;
                Ok(steps.collect::<rusqlite::Result<Vec<_>>>()?.join("\n"))
            });
            let plan = plan.unwrap();
            assert!(plan.contains("SEARCH proofs") && plan.contains(&format!("proofs_by_{column}")), "{plan}");
        }
    }

    #[test]
    fn a_blob_is_needed_as_a_program_an_input_or_a_result() {
        let (_folder, database) = database();
        add(&database, "a", "i");
        end(&database, "a");
        for (digest, expected) in [("p", true), ("i", true), ("result of a", true), ("other", false)] {
            assert_eq!(database.is_needed_blob(digest).unwrap(), expected, "{digest}");
        }
    }

    #[test]
    fn cached_results_of_an_expired_proof_are_left_to_remove() {
        let (_folder, database) = database();
        // Two proofs with the same input, and one that has not expired.
        for (id, input) in [("a", "i"), ("b", "i"), ("c", "j")] {
            add(&database, id, input);
        }
        end(&database, "a");
        end(&database, "b");
        assert_eq!(database.remove_ended(NOW, Duration::ZERO).unwrap(), 0);
        assert_eq!(pending(&database), []);
        assert_eq!(database.remove_ended(NOW.plus_seconds(1), Duration::ZERO).unwrap(), 2);
        assert_eq!(pending(&database), [(RemovalKind::CachedResults, "i".to_owned())]);
    }

    #[test]
    fn uploads_of_an_input_stay_while_another_tenant_has_uploaded_it() {
        let (_folder, database) = database();
        database.add_input("default", "i", 1, NOW).unwrap();
        // The other tenant has not yet asked for its proof.
        database.add_input("other", "i", 1, NOW).unwrap();
        let upload = HostedArtifact {
            id: "upload".into(),
            requester: "requester of the other tenant".into(),
            kind: "stdin".into(),
            blob: "i".into(),
            expires: NOW.plus_seconds(10),
        };
        database.add_artifact(&upload, NOW, 1).unwrap().unwrap();
        add(&database, "a", "i");
        end(&database, "a");
        assert_eq!(database.delete_ended(None, "a").unwrap(), DeletionOutcome::Deleted);
        assert!(database.artifact("upload", NOW).unwrap().is_some());
        database.add_proof("b", &NewProof::default(), fields("other", "i"), NOW).unwrap();
        end(&database, "b");
        assert_eq!(database.delete_ended(None, "b").unwrap(), DeletionOutcome::Deleted);
        assert!(database.artifact("upload", NOW).unwrap().is_none());
    }

    #[test]
    fn a_tenant_deletes_only_its_own_proofs_and_inputs() {
        let (_folder, database) = database();
        for (tenant, id) in [("default", "a"), ("other", "b")] {
            database.add_input(tenant, "i", 1, NOW).unwrap();
            database.add_proof(id, &NewProof::default(), fields(tenant, "i"), NOW).unwrap();
            end(&database, id);
        }
        assert_eq!(database.delete_ended(Some("other"), "a").unwrap(), DeletionOutcome::Unknown);
        assert_eq!(database.delete_ended(Some("default"), "a").unwrap(), DeletionOutcome::Deleted);
        assert!(!database.has_input("default", "i").unwrap() && database.has_input("other", "i").unwrap());
        assert!(database.is_input_of_proof("i").unwrap() && database.is_input_of_tenant("i").unwrap());
        assert_eq!(database.delete_ended(None, "b").unwrap(), DeletionOutcome::Deleted);
        assert!(!database.is_input_of_proof("i").unwrap() && !database.is_input_of_tenant("i").unwrap());
    }
}
