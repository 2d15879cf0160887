//! The archive: copies of finished proofs, programs, inputs and the database, in a folder or an object store. They
//! survive the loss of the state folder. It knows the state folder and nothing of HTTP, of workers, or of how a proof
//! runs.
//!
//! ```text
//! manifest.json                        names the latest database; written last, and only if it is the one read before
//! databases/TIME-POSITION-DIGEST.zst   consistent copies of the database
//! blobs/0a/0a…                         programs, inputs and finished proofs, each once
//! ```
//!
//! `schedule`, `manifest` and `retention` decide; `archiver` and `restore` act. Only one service archives to a place:
//! each start claims the place with a new generation, and a service whose manifest was replaced stops archiving.

mod archiver;
mod copy_name;
mod deadlines;
mod error;
#[cfg(test)]
mod fake_bucket;
mod folder;
mod limits;
mod manifest;
mod place;
mod position;
mod prepared_copy;
mod record;
mod restore;
mod retention;
mod revision;
mod s3;
mod schedule;
mod status;
mod store;

pub(crate) use archiver::{Archiver, ArchiverInputs};
pub use error::ArchiveError;
pub(crate) use limits::limits;
pub use place::{ArchivePlace, InvalidArchivePlace};
pub(crate) use prepared_copy::remove_unarchived_copies;
pub(crate) use restore::RESTORING;
pub use restore::{RestoreRequest, Restored, archived_copies, restore};
pub(crate) use status::ArchiveStatus;
