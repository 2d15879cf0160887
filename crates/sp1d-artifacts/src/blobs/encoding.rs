//! How the bytes of a chunk are stored.

/// How the bytes of a chunk are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Uncompressed.
    Raw,
    /// As one zstd frame.
    Zstd,
}
