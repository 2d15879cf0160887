//! The store: blobs by scope and name, in memory up to a budget, and in files beyond it. It knows nothing about the
//! content of a blob.

mod artifact_store;
mod contents;
mod error;
mod limits;
mod scope;
mod spill;
mod stored;
#[cfg(test)]
mod tests;
mod usage;

pub use artifact_store::Store;
pub use error::StoreError;
pub use limits::{StoreLimits, default_spill_folder, quarter_of_memory};
pub use scope::Scope;
pub use spill::SpilledBlob;
pub use stored::{ArtifactDescription, Stored};
pub use usage::{ArtifactStats, StoreUsage};
