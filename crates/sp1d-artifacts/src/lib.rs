//! Artifacts: immutable, compressed bytes, stored by name.
//!
//! ```text
//!   bytes ──► Encoder ──► chunks ──► (wire) ──► Assembler ──► Blob ──► bytes
//!                                                              │
//!                                                            Store ◄──► files, beyond the budget
//! ```
//!
//! A [`Blob`] is a sequence of independently compressed chunks and the BLAKE3 digest of the uncompressed content. Its
//! producer compresses it once, and it is sent and stored in that form. The [`Store`] keeps blobs by scope and name: in
//! memory up to a budget, and in files beyond it. This crate deliberately knows nothing about tasks or the network. It
//! knows proofs and attempts only by their numbers.

mod blobs;
mod digest;
mod limits;
mod store;

pub use blobs::{Assembler, Blob, BlobReader, CHUNK_BYTES, Chunk, DecodeError, Encoder, Encoding};
pub use digest::Digest;
pub use limits::limits;
pub use store::{
    ArtifactDescription, ArtifactStats, Scope, ScopeDescription, SpilledBlob, SpilledChunks, Store, StoreError,
    StoreLimits, StoreUsage, Stored, default_spill_folder, quarter_of_memory,
};
