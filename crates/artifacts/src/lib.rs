//! Artifacts: immutable bytes by name, kept compressed.
//!
//! ```text
//!   bytes ──► Encoder ──► chunks ──► (wire) ──► Assembler ──► Blob ──► bytes
//!                                                              │
//!                                                            Store ◄──► files, beyond the budget
//! ```
//!
//! A [`Blob`] is a sequence of independently compressed chunks and the blake3 digest of the uncompressed whole: it is
//! compressed once, where it is made, and travels and rests as it is. The [`Store`] keeps blobs by scope and name, in
//! memory up to a budget and in files beyond it. Nothing here knows tasks, proofs or the network.

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
