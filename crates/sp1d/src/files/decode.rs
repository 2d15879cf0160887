//! Decodes the content of a file.

use bincode::Options;
use serde::de::DeserializeOwned;
use sp1d_model::counted;

/// Decodes the value with which `bytes` start, as bincode 1 writes it. Returns also the bytes that follow.
///
/// # Errors
/// Fails if `bytes` do not start with such a value.
pub(crate) fn decode_start<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), bincode::Error> {
    let mut rest = bytes;
    // The limit bounds the memory for a length that is wrong.
    let options = bincode::options().with_fixint_encoding().with_limit(bytes.len() as u64);
    match options.deserialize_from(&mut rest) {
        Ok(value) => Ok((value, rest)),
        // For an incomplete value, the error above only says that the limit was reached.
        Err(error) => Err(bincode::deserialize::<T>(bytes).err().unwrap_or(error)),
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
}
