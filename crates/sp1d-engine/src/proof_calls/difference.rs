//! Explains how the proofs that a program verifies differ from the proofs in its input.

use sp1d_model::counted;
use std::fmt::Write;

/// What identifies a proof that a program verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofIdentity {
    /// Digest of the verifying key, as `hash_u32` of SP1's `HashableKey` returns it.
    pub key: [u32; 8],
    /// Digest of the public values.
    pub values: [u8; 32],
}

const ADD_HINT: &str = "add each proof that the program verifies to the input with `SP1Stdin::write_proof`, in the \
                        order in which the program verifies them";
const ORDER_HINT: &str = "write the proofs into the input in the order in which the program verifies them";

/// Returns the error message for a program that verified other proofs than the input has. `total` is the number of
/// proofs that the program verified, `verified` has the first of them, and `given` has the proofs of the input. `None`
/// is a proof that the program verified and that could not be identified.
pub(crate) fn difference(total: u64, verified: &[Option<ProofIdentity>], given: &[ProofIdentity]) -> String {
    if total != given.len() as u64 {
        let hint = if total > given.len() as u64 {
            ADD_HINT
        } else {
            "remove the proofs that the program does not verify from the input"
        };
        let (total, given) = (proofs(total), proofs(given.len() as u64));
        return format!("the program verifies {total}, the input has {given}\nhint: {hint}");
    }
    for (at, (asked, own)) in verified.iter().zip(given).enumerate() {
        let Some(asked) = asked.filter(|asked| asked != own) else { continue };
        let number = at + 1;
        if let Some(other) = given.iter().position(|other| *other == asked) {
            return format!(
                "the program verifies the proofs of the input in another order: its proof {number} is proof {} of the \
                 input\nhint: {ORDER_HINT}",
                other + 1
            );
        }
        if asked.key != own.key {
            return format!(
                "the program verifies proof {number} with the verifying key {:?}, proof {number} of the input has \
                 {:?}\nhint: pass the program the digest of the key (`hash_u32()`) of the program that was proven",
                asked.key, own.key
            );
        }
        return format!(
            "the program verifies proof {number} with public values of the digest {}, those of proof {number} of the \
             input have {}\nhint: pass the program exactly the public values of the proof",
            hexadecimal(&asked.values),
            hexadecimal(&own.values)
        );
    }
    format!("the program verifies other proofs than those in the input\nhint: {ADD_HINT}")
}

fn proofs(count: u64) -> String {
    match count {
        0 => "no proof".to_owned(),
        _ => counted(count, "proof"),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(key: u32, values: u8) -> ProofIdentity {
        ProofIdentity { key: [key; 8], values: [values; 32] }
    }

    /// Checks that the message for a program that verifies `verified` with the input proofs `given` contains `parts`.
    #[track_caller]
    fn check(verified: &[Option<ProofIdentity>], given: &[ProofIdentity], parts: &[&str]) {
        let text = difference(verified.len() as u64, verified, given);
        for part in parts {
            assert!(text.contains(part), "no {part:?} in {text:?}");
        }
        assert_eq!(text.matches("\nhint: ").count(), 1, "{text:?}");
    }

    #[test]
    fn a_wrong_number_of_proofs_is_named() {
        let (one, two) = (proof(1, 1), proof(2, 2));
        check(&[Some(one), Some(two)], &[one], &["verifies 2 proofs, the input has 1 proof", "write_proof"]);
        check(&[Some(one)], &[], &["verifies 1 proof, the input has no proof"]);
        check(&[], &[one, two], &["verifies no proof, the input has 2 proofs", "remove the proofs"]);
    }

    #[test]
    fn a_wrong_key_is_named_with_both_keys() {
        let (asked, given) = (proof(1, 1), proof(2, 1));
        check(&[Some(asked)], &[given], &["proof 1 with the verifying key [1, 1,", "input has [2, 2,", "hash_u32"]);
    }

    #[test]
    fn wrong_public_values_are_named_with_both_digests() {
        let (first, asked, given) = (proof(1, 1), proof(2, 0xab), proof(2, 3));
        let parts = ["proof 2 with public values of the digest 0xabab", "have 0x0303"];
        check(&[Some(first), Some(asked)], &[first, given], &parts);
    }

    #[test]
    fn another_order_is_named() {
        let (one, two) = (proof(1, 1), proof(2, 2));
        check(&[Some(two), Some(one)], &[one, two], &["another order: its proof 1 is proof 2"]);
    }

    #[test]
    fn proofs_that_could_not_be_identified_get_a_general_message() {
        check(&[None], &[proof(1, 1)], &["verifies other proofs than those in the input"]);
    }
}
