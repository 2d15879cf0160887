//! Decodes the content of files that users name.

use bincode::{DefaultOptions, ErrorKind, Options};
use serde::de::DeserializeOwned;
use sp1d_model::counted;
use std::io;

/// Why a file does not contain a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileDecodeError {
    /// The bytes end before the value does.
    #[error("it ends too early")]
    Truncated,
    /// The bytes are not a value of the expected type.
    #[error(transparent)]
    Invalid(bincode::Error),
    /// Bytes follow the value. They could belong to anything.
    #[error("{} too many at its end", counted(*.0, "byte"))]
    Rest(usize),
}

/// Decodes all of `bytes` as bincode 1 writes it.
///
/// # Errors
/// Fails if `bytes` are not a value, or if bytes follow the value.
pub(crate) fn decode_file<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FileDecodeError> {
    let decoder = DefaultOptions::new().with_fixint_encoding().reject_trailing_bytes();
    decoder.deserialize(bytes).map_err(|error| {
        // bincode does not say how many bytes follow. The limit bounds the memory for a length that is wrong.
        let mut rest = bytes;
        let counter = DefaultOptions::new().with_fixint_encoding().with_limit(bytes.len() as u64);
        match counter.deserialize_from::<_, T>(&mut rest) {
            Ok(_) if !rest.is_empty() => FileDecodeError::Rest(rest.len()),
            _ => match *error {
                ErrorKind::Io(reason) if reason.kind() == io::ErrorKind::UnexpectedEof => FileDecodeError::Truncated,
                other => FileDecodeError::Invalid(Box::new(other)),
            },
        }
    })
}
