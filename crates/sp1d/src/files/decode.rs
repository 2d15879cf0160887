//! Decodes the content of a file.

use bincode::Options;
use serde::de::DeserializeOwned;
use sp1d_model::counted;
use std::io;

/// Why bytes do not start with a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValueDecodeError {
    /// The bytes end before the value does.
    #[error("it ends too early")]
    Truncated,
    /// The bytes are not such a value.
    #[error(transparent)]
    Invalid(bincode::Error),
}

impl ValueDecodeError {
    /// Says why a file of `bytes` bytes cannot be decoded, with a hint if it ends too early.
    pub(crate) fn of_file(&self, bytes: usize) -> String {
        let found = match (self, bytes) {
            (Self::Invalid(error), _) => return error.to_string(),
            (Self::Truncated, 0) => "it is empty".to_owned(),
            (Self::Truncated, _) => format!("it ends too early, after {}", counted(bytes, "byte")),
        };
        format!("{found}\nhint: copy or fetch the file again, because a part at its end is missing")
    }
}

impl From<bincode::Error> for ValueDecodeError {
    fn from(error: bincode::Error) -> Self {
        match *error {
            bincode::ErrorKind::Io(reason) if reason.kind() == io::ErrorKind::UnexpectedEof => Self::Truncated,
            other => Self::Invalid(Box::new(other)),
        }
    }
}

/// Decodes the value with which `bytes` start, as bincode 1 writes it. Returns also the bytes that follow.
///
/// # Errors
/// Fails if `bytes` do not start with such a value.
pub(crate) fn decode_start<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), ValueDecodeError> {
    let mut rest = bytes;
    // The limit bounds the memory for a length that is wrong.
    let options = bincode::options().with_fixint_encoding().with_limit(bytes.len() as u64);
    match options.deserialize_from(&mut rest) {
        Ok(value) => Ok((value, rest)),
        // For an incomplete value, the error above only says that the limit was reached.
        Err(error) => Err(bincode::deserialize::<T>(bytes).err().unwrap_or(error).into()),
    }
}

/// Checks that `rest`, the bytes after a value, is empty.
///
/// # Errors
/// Returns a text with the number of bytes.
pub(crate) fn check_end(rest: &[u8]) -> Result<(), String> {
    if rest.is_empty() { Ok(()) } else { Err(format!("{} too many at its end", counted(rest.len(), "byte"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_after_a_value_are_returned() {
        let bytes = bincode::serialize(&(7_u32, "text".to_owned())).unwrap();
        let longer = [bytes.as_slice(), b"rest"].concat();
        let (value, rest) = decode_start::<(u32, String)>(&longer).unwrap();
        assert_eq!((value, rest), ((7, "text".to_owned()), b"rest".as_slice()));
        assert_eq!(check_end(rest).unwrap_err(), "4 bytes too many at its end");
        assert!(check_end(decode_start::<(u32, String)>(&bytes).unwrap().1).is_ok());
    }

    #[test]
    fn a_wrong_length_takes_no_memory() {
        let error = decode_start::<String>(&[0xff; 12]).unwrap_err();
        assert!(!error.to_string().is_empty());
    }

    #[test]
    fn a_shortened_value_has_another_error_than_an_invalid_one() {
        let bytes = bincode::serialize(&(true, 7_u32, "text".to_owned())).unwrap();
        for length in 0..bytes.len() {
            let error = decode_start::<(bool, u32, String)>(&bytes[..length]).unwrap_err();
            assert!(matches!(error, ValueDecodeError::Truncated), "{length}: {error}");
        }
        let error = decode_start::<bool>(&[7]).unwrap_err();
        assert!(matches!(error, ValueDecodeError::Invalid(_)), "{error}");
    }

    #[test]
    fn an_early_end_has_the_number_of_bytes_and_a_hint() {
        let hint = "\nhint: copy or fetch the file again, because a part at its end is missing";
        for (bytes, expected) in
            [(0, "it is empty"), (1, "it ends too early, after 1 byte"), (70, "it ends too early, after 70 bytes")]
        {
            assert_eq!(ValueDecodeError::Truncated.of_file(bytes), format!("{expected}{hint}"));
        }
        let invalid = decode_start::<bool>(&[7]).unwrap_err().of_file(1);
        assert!(!invalid.is_empty() && !invalid.contains("hint: "), "{invalid}");
    }
}
