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
//! memory up to a budget, and in files beyond it. This crate deliberately knows nothing about tasks, proofs or the
//! network.

mod blob;
mod digest;
mod limits;
mod spill;
mod store;

pub use blob::{Assembler, Blob, CHUNK_BYTES, Chunk, Encoder, Encoding, Error};
pub use digest::Digest;
pub use limits::{Limits, default_spill_folder, quarter_of_memory};
pub use spill::SpilledBlob;
pub use store::{Description, Scope, Stats, Store, StoreError, Stored, Usage};
