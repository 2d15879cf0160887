//! Decodes the outputs of workers completely.

use bincode::Options;
use serde::de::DeserializeOwned;

/// Decodes `bytes` and rejects bytes that follow. The receiver has bounded the length, and SP1's types take little more
/// memory than their serialized form.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // The same encoding as `bincode::deserialize`, which however ignores bytes that follow.
    let options = bincode::DefaultOptions::new().with_fixint_encoding().reject_trailing_bytes();
    options.deserialize(bytes).map_err(|error| format!("it cannot be decoded: {error}"))
}
