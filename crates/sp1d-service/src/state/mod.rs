//! The state folder: everything that must survive the process. It knows bytes, rows and files, and nothing of HTTP, of
//! workers, or of how a proof runs.

mod audit_log;
mod blobs;
mod clock;
mod database;
mod disk;
mod file_system;
mod file_version;
mod private_files;
mod result_cache;
mod state_folder;

pub(crate) use audit_log::{AuditEntry, AuditLog, LIMITS as AUDIT_LIMITS, MAX_AUDIT_BYTES};
pub use blobs::BlobError;
pub(crate) use blobs::{BlobWriter, Blobs, OpenBlob, StoredBlob, is_digest};
#[cfg(test)]
pub(crate) use clock::ClockRecord;
pub(crate) use clock::{ProofTimes, ServiceClock};
pub use database::DatabaseError;
pub(crate) use database::{
    Database, DatabaseCopier, DeletionOutcome, HostedArtifact, HostedRequest, NewProofFields, NonceOutcome,
    PendingRemoval, ProofJob, ProofOutcome, ProofSelection, RemovalKind, StoredToken, SubmissionOutcome,
};
pub(crate) use disk::{DiskSpace, free_bytes};
pub(crate) use file_version::FileVersion;
pub(crate) use private_files::{create_private_folder, replace_durably, sync_folder};
pub(crate) use result_cache::{CacheStart, DiskResultCache, read_cache_file, write_cache_file};
pub use state_folder::StateError;
pub(crate) use state_folder::StateFolder;
