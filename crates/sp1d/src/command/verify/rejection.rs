//! The error for a proof that does not verify.

use crate::exit::{self, CliError};

/// Returns the error for a proof that does not verify with the key whose hash is `key`. `named` is the hash of the key
/// that the proof names, if it names one.
pub(in crate::command) fn rejection(reason: &str, named: Option<&str>, key: &str) -> CliError {
    let text = match named {
        Some(named) if named != key => format!(
            "the proof does not verify: this proof is of another program. It names the verifying key {named}, and was \
             verified with the key {key}\nhint: pass the program that was proven, or its key"
        ),
        Some(_) => format!("the proof does not verify: {reason}"),
        None => format!(
            "the proof does not verify with the key {key}: the file is damaged, or contains a proof of another \
             program. SP1 reports: {reason}\nhint: pass the program that was proven, or its key"
        ),
    };
    CliError::new(exit::UNVERIFIED, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_of_another_program_is_named_as_such() {
        let check = |named, parts: &[&str], absent: &str| {
            let text = rejection("its root is wrong", named, "0xaa").to_string();
            for part in parts {
                assert!(text.contains(part), "no {part:?} in {text}");
            }
            assert!(!text.contains(absent), "{absent:?} in {text}");
        };
        check(Some("0xbb"), &["this proof is of another program", "0xaa", "0xbb", "\nhint: "], "its root is wrong");
        check(Some("0xaa"), &["does not verify: its root is wrong"], "another program");
        let unnamed =
            ["does not verify with the key 0xaa: ", "a proof of another program", "its root is wrong", "\nhint: "];
        check(None, &unnamed, "0xbb");
    }
}
