//! The store: blobs by scope and name, in memory up to a budget, and in files beyond it. It knows nothing about the
//! content of a blob.

mod artifact_store;
mod contents;
mod error;
mod limits;
mod scope;
mod spill;
mod spill_folder;
mod spilled_blob;
mod stored;
#[cfg(test)]
mod tests;
mod usage;

pub use artifact_store::Store;
pub use error::StoreError;
pub(crate) use limits::LIMITS as STORE_LIMITS;
pub use limits::{StoreLimits, default_spill_folder, quarter_of_memory};
pub use scope::Scope;
pub use spilled_blob::{SpilledBlob, SpilledChunks};
pub use stored::{ArtifactDescription, Stored};
pub use usage::{ArtifactStats, ScopeDescription, StoreUsage};
