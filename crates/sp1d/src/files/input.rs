//! The input of a program.

use super::{
    decode::{ValueDecodeError, check_end},
    read::read_file,
};
use crate::exit::CliError;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{num::ParseIntError, path::Path, str::FromStr};

/// One value of `--input`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InputArgument {
    U32(u32),
    U64(u64),
    Str(String),
    Bytes(Vec<u8>),
    File(String),
}

const KIND_HINT: &str = "hint: write KIND:VALUE with the kind u32, u64, str, hex or file";

/// Why a value of `--input` is invalid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputArgumentError {
    #[error("the value has no kind\n{KIND_HINT}")]
    NoKind,
    #[error("unknown kind {kind:?}\n{KIND_HINT}")]
    UnknownKind { kind: String },
    #[error("{value:?} is not a valid {kind}: {reason}")]
    Number { value: String, kind: String, reason: ParseIntError },
    #[error("{value:?} is not valid hexadecimal: {reason}")]
    Hexadecimal { value: String, reason: hex::FromHexError },
}

impl FromStr for InputArgument {
    type Err = InputArgumentError;

    fn from_str(text: &str) -> Result<Self, InputArgumentError> {
        let (kind, value) = text.split_once(':').ok_or(InputArgumentError::NoKind)?;
        let number = |reason| InputArgumentError::Number { value: value.to_owned(), kind: kind.to_owned(), reason };
        let hexadecimal = |reason| InputArgumentError::Hexadecimal { value: value.to_owned(), reason };
        match kind {
            "u32" => value.parse().map(Self::U32).map_err(number),
            "u64" => value.parse().map(Self::U64).map_err(number),
            "str" => Ok(Self::Str(value.to_owned())),
            "hex" => hex::decode(value.strip_prefix("0x").unwrap_or(value)).map(Self::Bytes).map_err(hexadecimal),
            "file" => Ok(Self::File(value.to_owned())),
            _ => Err(InputArgumentError::UnknownKind { kind: kind.to_owned() }),
        }
    }
}

/// The fields of SP1's `SP1Stdin`, as bincode writes them. This crate can be built without SP1.
#[derive(Serialize, Deserialize)]
struct PlainStdin {
    values: Vec<Vec<u8>>,
    /// Number of values that were read.
    position: u64,
    /// Number of proofs that follow.
    proofs: u64,
}

/// Returns the serialized `SP1Stdin`: the content of the file `stdin` if it is given, else the `inputs` in order. The
/// proofs in a file are not checked.
pub(crate) fn read_stdin(stdin: Option<&Path>, inputs: &[InputArgument]) -> Result<Vec<u8>> {
    if let Some(path) = stdin {
        let bytes = read_file(path, "the input")?;
        if let Err(reason) = check_form(&bytes) {
            let text = format!(
                "{} does not contain a serialized SP1Stdin: {reason}\nhint: serialize it with bincode 1, as SP1's own \
                 tools do, or pass values with `--input`",
                path.display()
            );
            return Err(CliError::usage(text).into());
        }
        return Ok(bytes);
    }
    let values = inputs.iter().map(serialized).collect::<Result<_>>()?;
    bincode::serialize(&PlainStdin { values, position: 0, proofs: 0 }).context("cannot serialize the input")
}

/// Checks that `bytes` are a serialized `SP1Stdin`. The proofs in it are not checked.
fn check_form(bytes: &[u8]) -> Result<(), String> {
    let decoded = bincode::deserialize(bytes).map_err(|error| ValueDecodeError::from(error).of_file(bytes.len()));
    let PlainStdin { values, proofs, .. } = decoded?;
    // Each value follows its length. The other fields and the number of values have eight bytes each.
    let end = 3 * 8 + values.iter().map(|value| 8 + value.len()).sum::<usize>();
    if proofs > 0 { Ok(()) } else { check_end(&bytes[end..]) }
}

/// Returns a value as the program reads it.
fn serialized(input: &InputArgument) -> Result<Vec<u8>> {
    let serialized = match input {
        InputArgument::U32(value) => bincode::serialize(value),
        InputArgument::U64(value) => bincode::serialize(value),
        InputArgument::Str(value) => bincode::serialize(value),
        InputArgument::Bytes(bytes) => return Ok(bytes.clone()),
        InputArgument::File(path) => return read_file(Path::new(path), "the input"),
    };
    serialized.context("cannot serialize an input value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1_sdk::SP1Stdin;
    use std::fs;

    fn check(text: &str, expected: Result<InputArgument, &str>) {
        match (text.parse::<InputArgument>(), expected) {
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
            (got, expected) => assert_eq!(got.ok(), expected.ok(), "{text}"),
        }
    }

    #[test]
    fn input_values_are_parsed_by_kind() {
        check("u32:7", Ok(InputArgument::U32(7)));
        check("u64:18446744073709551615", Ok(InputArgument::U64(u64::MAX)));
        check("str:a:b", Ok(InputArgument::Str("a:b".into())));
        check("str:", Ok(InputArgument::Str(String::new())));
        check("hex:0x00ff", Ok(InputArgument::Bytes(vec![0, 255])));
        check("file:/a/b", Ok(InputArgument::File("/a/b".into())));
    }

    #[test]
    fn invalid_values_report_the_expected_form() {
        check("7", Err("KIND:VALUE"));
        check("i32:7", Err("unknown kind \"i32\""));
        check("u32:-1", Err("\"-1\" is not a valid u32"));
        check("u32:4294967296", Err("is not a valid u32"));
        check("hex:0", Err("not valid hexadecimal"));
    }

    #[test]
    fn inputs_are_serialized_in_order() {
        let stdin = read_stdin(
            None,
            &[InputArgument::U32(7), InputArgument::Str("hi".into()), InputArgument::Bytes(vec![1, 2])],
        )
        .unwrap();
        let mut stdin: SP1Stdin = bincode::deserialize(&stdin).unwrap();
        assert_eq!(stdin.read::<u32>(), 7);
        assert_eq!(stdin.read::<String>(), "hi");
        assert_eq!(stdin.buffer[2], [1, 2]);
    }

    #[test]
    fn inputs_have_the_bytes_of_sp1() {
        let mut stdin = SP1Stdin::new();
        stdin.write(&u64::MAX);
        stdin.write(&"text".to_owned());
        stdin.write_slice(&[1, 2]);
        let inputs =
            [InputArgument::U64(u64::MAX), InputArgument::Str("text".into()), InputArgument::Bytes(vec![1, 2])];
        assert_eq!(read_stdin(None, &inputs).unwrap(), bincode::serialize(&stdin).unwrap());
        assert_eq!(read_stdin(None, &[]).unwrap(), bincode::serialize(&SP1Stdin::new()).unwrap());
    }

    #[test]
    fn an_invalid_or_missing_stdin_file_is_reported() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [255; 16]).unwrap();
        let text = read_stdin(Some(file.path()), &[]).unwrap_err().to_string();
        assert!(text.contains("does not contain a serialized SP1Stdin"), "{text}");
        let whole = read_stdin(None, &[InputArgument::U32(7), InputArgument::Bytes(vec![1, 2])]).unwrap();
        fs::write(file.path(), &whole).unwrap();
        assert_eq!(read_stdin(Some(file.path()), &[]).unwrap(), whole);
        for length in 0..whole.len() {
            fs::write(file.path(), &whole[..length]).unwrap();
            let text = read_stdin(Some(file.path()), &[]).unwrap_err().to_string();
            let found = if length == 0 { "it is empty".to_owned() } else { format!("too early, after {length} byte") };
            assert!(text.contains(&found) && text.contains("\nhint: copy or fetch the file again"), "{text}");
        }
        fs::write(file.path(), [whole.as_slice(), b"rest"].concat()).unwrap();
        let text = read_stdin(Some(file.path()), &[]).unwrap_err().to_string();
        assert!(text.contains("SP1Stdin: 4 bytes too many at its end"), "{text}");
        let text = read_stdin(Some(Path::new("/no/such/stdin")), &[]).unwrap_err().to_string();
        assert!(text.contains("/no/such/stdin"), "{text}");
    }
}
