//! Arguments of `sp1d verify`, and the verifying key that it needs.

use clap::Args;
use std::{path::PathBuf, str::FromStr};

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    /// Proof file, as saved by `sp1d prove`, `sp1d fetch` or SP1's own tools, or - for standard input.
    #[arg(value_name = "PROOF")]
    pub(crate) proof: PathBuf,
    /// Print the outcome as one JSON object: whether the proof is valid, its mode, the hash of the program's verifying
    /// key, the SP1 version and the public values.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where the verifying key comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct KeyArguments {
    /// Program file (ELF). Its verifying key is computed.
    #[cfg(feature = "prover")]
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: Option<PathBuf>,
    /// Verifying key: a file that `sp1d vkey --output` wrote, or the key's hash as `sp1d vkey` prints it. The hash is
    /// enough for plonk and groth16 proofs.
    #[arg(long, value_name = "FILE|0xHASH")]
    pub(crate) vkey: Option<KeySource>,
}

/// A verifying key as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// A file with the key.
    File(PathBuf),
    /// The hash of the key: `0x` and 64 lower-case hexadecimal digits.
    Hash(String),
}

/// Why a verifying key is not named in a valid way.
#[derive(Debug, thiserror::Error)]
#[error(
    "a hash of a verifying key is 0x and 64 hexadecimal digits\n\
     hint: copy what `sp1d vkey` prints; for a file whose name starts with 0x, write ./0x…"
)]
pub(crate) struct KeySourceError;

impl FromStr for KeySource {
    type Err = KeySourceError;

    fn from_str(text: &str) -> Result<Self, KeySourceError> {
        let Some(digits) = text.strip_prefix("0x") else { return Ok(Self::File(text.into())) };
        let is_hash = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if is_hash { Ok(Self::Hash(text.to_ascii_lowercase())) } else { Err(KeySourceError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_file_or_a_hash() {
        let hash = format!("0x{}", "aB".repeat(32));
        assert_eq!(hash.parse::<KeySource>().ok(), Some(KeySource::Hash(hash.to_ascii_lowercase())));
        assert_eq!("key.bin".parse::<KeySource>().ok(), Some(KeySource::File("key.bin".into())));
        assert_eq!("./0xkey".parse::<KeySource>().ok(), Some(KeySource::File("./0xkey".into())));
        for wrong in ["0x", "0xab", &hash[..65], &format!("{hash}0"), &format!("0x{}", "zz".repeat(32))] {
            let error = wrong.parse::<KeySource>().err().map(|error| error.to_string());
            assert!(error.is_some_and(|text| text.contains("64 hexadecimal digits")), "{wrong}");
        }
    }
}
