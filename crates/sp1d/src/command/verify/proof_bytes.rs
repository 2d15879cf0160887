//! The bytes of a proof, which are not checked yet.

use crate::{
    exit::{self, CliError},
    files::{ValueDecodeError, read_bounded},
};
use anyhow::Result;
use sp1d_model::ProofMode;
use std::path::Path;

/// Largest proof in bytes. A core proof has 1.5 MB for each shard. Other proofs have at most 2 MB.
const MAX_PROOF_BYTES: u64 = 4 << 30;

/// The version of SP1's circuits that this build verifies: `SP1_CIRCUIT_VERSION` of sp1-sdk.
const CIRCUIT_VERSION: &str = "v6.1.0";

/// A serialized `SP1ProofWithPublicValues`: the kind of the proof, the proof, its public values, and SP1's version.
pub(in crate::command) struct ProofBytes {
    name: String,
    bytes: Vec<u8>,
}

impl ProofBytes {
    /// Reads the proof from the file `path`, or from standard input if `path` is `-`.
    pub(in crate::command) fn read(path: &Path) -> Result<Self> {
        let bytes = read_bounded(path, "the proof", MAX_PROOF_BYTES)?;
        let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
        Ok(Self { name, bytes })
    }

    #[cfg(feature = "prover")]
    pub(in crate::command) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the kind of the proof and the bytes that follow. bincode writes the number of the kind in four bytes.
    pub(in crate::command) fn mode(&self) -> Result<(ProofMode, &[u8])> {
        let (kind, rest) =
            self.bytes.split_first_chunk::<4>().ok_or_else(|| self.undecodable(&ValueDecodeError::Truncated))?;
        let mode = match u32::from_le_bytes(*kind) {
            0 => ProofMode::Core,
            1 => ProofMode::Compressed,
            2 => ProofMode::Plonk,
            3 => ProofMode::Groth16,
            _ => return Err(self.invalid("it is of an unknown kind").into()),
        };
        Ok((mode, rest))
    }

    /// Checks that the proof was made by SP1 with the same circuits.
    ///
    /// # Errors
    /// Fails if the proof names another version. A proof without a readable version passes: decoding it fails later.
    pub(super) fn check_version(&self) -> Result<()> {
        match version(&self.bytes) {
            None | Some(CIRCUIT_VERSION) => Ok(()),
            Some(other) => {
                let text = format!(
                    "{} is a proof of another SP1 version: its circuits are {other}, this sp1d verifies \
                     {CIRCUIT_VERSION}\nhint: verify it with a release of sp1d or SP1 that has the circuits {other}",
                    self.name
                );
                Err(CliError::new(exit::UNVERIFIED, text).into())
            }
        }
    }

    /// Returns the error for bytes that cannot be decoded as a proof.
    pub(in crate::command) fn undecodable(&self, error: &ValueDecodeError) -> CliError {
        match error {
            ValueDecodeError::Invalid(error) => self.invalid(error),
            ValueDecodeError::Truncated => CliError::usage(format!(
                "{} is not a complete SP1 proof: {}",
                self.name,
                error.of_file(self.bytes.len())
            )),
        }
    }

    /// Returns the error for bytes that are not a proof.
    pub(in crate::command) fn invalid(&self, reason: impl std::fmt::Display) -> CliError {
        CliError::usage(format!(
            "{} is not an SP1 proof: {reason}\nhint: pass a file that `sp1d prove` or SP1's own tools saved",
            self.name
        ))
    }
}

/// Returns the SP1 version that a serialized proof names. It is the last text in the bytes, so it can be read even if
/// the rest has the form of another version. A proof of the prover network ends with it. In other proofs, a zero byte
/// follows.
fn version(proof: &[u8]) -> Option<&str> {
    /// Longest version in bytes.
    const MAX_VERSION_BYTES: usize = 32;
    let ends = [proof.strip_suffix(&[0]), Some(proof)];
    ends.into_iter().flatten().find_map(|text_end| {
        (2..=MAX_VERSION_BYTES).find_map(|length| {
            let (rest, text) = text_end.split_at_checked(text_end.len().checked_sub(length)?)?;
            let (_, announced) = rest.split_last_chunk::<8>()?;
            let text = str::from_utf8(text).ok()?;
            (u64::from_le_bytes(*announced) == length as u64 && is_version(text)).then_some(text)
        })
    })
}

fn is_version(text: &str) -> bool {
    let number = text.strip_prefix('v').unwrap_or(text);
    number.starts_with(|first: char| first.is_ascii_digit())
        && number.contains('.')
        && number.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-+".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof_of(version: &str, end: &[u8]) -> ProofBytes {
        let bytes = [&[9; 40][..], &(version.len() as u64).to_le_bytes(), version.as_bytes(), end].concat();
        ProofBytes { name: "proof.bin".into(), bytes }
    }

    #[test]
    fn the_version_is_the_one_of_sp1() {
        assert_eq!(CIRCUIT_VERSION, sp1_sdk::SP1_CIRCUIT_VERSION.trim());
    }

    #[test]
    fn a_proof_of_another_version_is_named_as_such() {
        for (version, end) in [("v5.0.0", &[0][..]), ("v4.1.7", &[]), ("5.2.0-rc.1", &[0])] {
            let text = proof_of(version, end).check_version().unwrap_err().to_string();
            assert!(text.contains("another SP1 version") && text.contains(version), "{text}");
            assert!(text.contains("proof.bin") && text.contains(CIRCUIT_VERSION), "{text}");
        }
        assert!(proof_of(CIRCUIT_VERSION, &[0]).check_version().is_ok());
        assert!(proof_of(CIRCUIT_VERSION, &[]).check_version().is_ok());
    }

    #[test]
    fn bytes_without_a_version_are_left_to_the_decoder() {
        for bytes in [vec![], vec![0], vec![0xff; 100], proof_of("not a version", &[0]).bytes] {
            assert_eq!(version(&bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn the_first_bytes_are_the_kind_of_the_proof() {
        let mode = |bytes: &[u8]| {
            ProofBytes { name: "x".into(), bytes: bytes.into() }.mode().map(|(mode, _)| mode).map_err(|e| e.to_string())
        };
        assert_eq!(mode(&[0, 0, 0, 0, 1]), Ok(ProofMode::Core));
        assert_eq!(mode(&[3, 0, 0, 0]), Ok(ProofMode::Groth16));
        assert!(mode(&[4, 0, 0, 0]).is_err_and(|text| text.contains("unknown kind")));
        let short = "x is not a complete SP1 proof: it ends too early, after 3 bytes\nhint: copy or fetch";
        assert!(mode(b"abc").is_err_and(|text| text.starts_with(short)));
        assert!(mode(b"").is_err_and(|text| text.starts_with("x is not a complete SP1 proof: it is empty\nhint: ")));
    }
}
