//! The SQLite database of programs, proofs and their events: one file and its write-ahead log, see
//! <https://www.sqlite.org/wal.html>. It does not know the files of programs, inputs and proofs, only their digests.
//!
//! Every method of [`Database`] blocks on disk access.

mod clock_record;
mod connection;
mod copier;
mod error;
mod events;
mod garbage;
mod hosted;
mod programs;
mod quotas;
mod removals;
mod rows;
mod runs;
mod schema;
mod selection;
mod submissions;
mod suspects;
mod tokens;

pub(crate) use connection::Database;
pub(crate) use copier::DatabaseCopier;
pub use error::DatabaseError;
pub(crate) use hosted::{HostedArtifact, HostedRequest, NonceOutcome};
pub(crate) use removals::{DeletionOutcome, PendingRemoval, RemovalKind};
pub(crate) use runs::{ProofJob, ProofOutcome};
pub(crate) use selection::ProofSelection;
pub(crate) use submissions::{NewProofFields, SubmissionOutcome};
pub(crate) use tokens::StoredToken;

#[cfg(test)]
mod tests;
