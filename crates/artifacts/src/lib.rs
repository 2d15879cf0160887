//! Artifacts: immutable bytes by name, kept compressed.
//!
//! ```text
//!   bytes ──► Encoder ──► chunks ──► (wire) ──► Assembler ──► Blob ──► bytes
//!                                                              │
//!                                                            Store
//! ```
//!
//! A [`Blob`] is a sequence of independently compressed chunks and the blake3 digest of the uncompressed whole: it is compressed once,
//! where it is made, and travels and rests as it is. The [`Store`] keeps blobs by scope and name. Nothing here knows tasks, proofs
//! or the network.

mod blob;
mod digest;
mod store;

pub use blob::{Assembler, Blob, CHUNK_BYTES, Chunk, Encoder, Encoding, Error};
pub use digest::Digest;
pub use store::{Scope, Stats, Store, StoreError};
