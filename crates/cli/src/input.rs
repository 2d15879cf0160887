//! What a program reads.

use crate::exit::Failure;
use anyhow::{Context, Result};
use sp1_sdk::SP1Stdin;
use std::{fs, path::Path, str::FromStr};

/// One value of `--input`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    U32(u32),
    U64(u64),
    Str(String),
    Bytes(Vec<u8>),
    File(String),
}

impl FromStr for Input {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = "write KIND:VALUE with KIND u32, u64, str, hex or file";
        let (kind, value) = text.split_once(':').ok_or_else(|| format!("no kind: {kinds}"))?;
        let number = |error: std::num::ParseIntError| format!("{value:?} is no {kind}: {error}");
        match kind {
            "u32" => value.parse().map(Self::U32).map_err(number),
            "u64" => value.parse().map(Self::U64).map_err(number),
            "str" => Ok(Self::Str(value.to_owned())),
            "hex" => hex::decode(value.strip_prefix("0x").unwrap_or(value))
                .map(Self::Bytes)
                .map_err(|error| format!("{value:?} is no hexadecimal: {error}")),
            "file" => Ok(Self::File(value.to_owned())),
            _ => Err(format!("unknown kind {kind:?}: {kinds}")),
        }
    }
}

/// The serialised stdin: the file `stdin`, or `inputs` in order.
pub(crate) fn read_stdin(stdin: Option<&Path>, inputs: &[Input]) -> Result<Vec<u8>> {
    if let Some(path) = stdin {
        let bytes = read_file(path, "the stdin")?;
        if let Err(error) = bincode::deserialize::<SP1Stdin>(&bytes) {
            let text = format!(
                "{} is no serialised SP1Stdin: {error}; write it with bincode 1 as SP1's own tools do, or use --input",
                path.display()
            );
            return Err(Failure::usage(text).into());
        }
        return Ok(bytes);
    }
    let mut stdin = SP1Stdin::new();
    for input in inputs {
        match input {
            Input::U32(value) => stdin.write(value),
            Input::U64(value) => stdin.write(value),
            Input::Str(value) => stdin.write(value),
            Input::Bytes(bytes) => stdin.write_slice(bytes),
            Input::File(path) => stdin.write_slice(&read_file(Path::new(path), "an input")?),
        }
    }
    bincode::serialize(&stdin).context("serialise the stdin")
}

/// Content of a file that the user named.
pub(crate) fn read_file(path: &Path, what: &str) -> Result<Vec<u8>> {
    fs::read(path)
        .map_err(|error| Failure::usage(format!("cannot read {what} from {}: {error}", path.display())).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Input, &str>) {
        match (text.parse::<Input>(), expected) {
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (got, expected) => assert_eq!(got.ok(), expected.ok(), "{text}"),
        }
    }

    #[test]
    fn values_are_read_by_kind() {
        check("u32:7", Ok(Input::U32(7)));
        check("u64:18446744073709551615", Ok(Input::U64(u64::MAX)));
        check("str:a:b", Ok(Input::Str("a:b".into())));
        check("str:", Ok(Input::Str(String::new())));
        check("hex:0x00ff", Ok(Input::Bytes(vec![0, 255])));
        check("file:/a/b", Ok(Input::File("/a/b".into())));
    }

    #[test]
    fn other_texts_say_what_is_expected() {
        check("7", Err("KIND:VALUE"));
        check("i32:7", Err("unknown kind \"i32\""));
        check("u32:-1", Err("\"-1\" is no u32"));
        check("u32:4294967296", Err("is no u32"));
        check("hex:0", Err("no hexadecimal"));
    }

    #[test]
    fn inputs_become_what_the_program_reads() {
        let stdin = read_stdin(None, &[Input::U32(7), Input::Str("hi".into()), Input::Bytes(vec![1, 2])]).unwrap();
        let mut stdin: SP1Stdin = bincode::deserialize(&stdin).unwrap();
        assert_eq!(stdin.read::<u32>(), 7);
        assert_eq!(stdin.read::<String>(), "hi");
        assert_eq!(stdin.buffer[2], [1, 2]);
    }

    #[test]
    fn a_stdin_that_does_not_decode_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [255; 16]).unwrap();
        let text = read_stdin(Some(file.path()), &[]).unwrap_err().to_string();
        assert!(text.contains("no serialised SP1Stdin"), "{text}");
        let text = read_stdin(Some(Path::new("/no/such/stdin")), &[]).unwrap_err().to_string();
        assert!(text.contains("/no/such/stdin"), "{text}");
    }
}
