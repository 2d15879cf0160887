//! The state folder: everything that must survive the process. It knows bytes, rows and files, and nothing of HTTP, of
//! workers, or of how a proof runs.

mod blobs;
mod database;
mod disk;
mod result_cache;
mod state_folder;

pub use blobs::BlobError;
pub(crate) use blobs::{BlobWriter, Blobs, StoredBlob, is_digest};
pub use database::DatabaseError;
pub(crate) use database::{Database, ProofJob, ProofOutcome, ProofSelection, SubmissionOutcome};
pub(crate) use disk::{free_bytes, has_less_than};
pub(crate) use result_cache::DiskResultCache;
pub use state_folder::StateError;
pub(crate) use state_folder::StateFolder;
