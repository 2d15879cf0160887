//! Searches a program for the call that verifies a proof.

/// The instruction `li t0, 0x1b`, which the function `verify_sp1_proof` of sp1-zkvm contains: it selects SP1's call
/// `VERIFY_SP1_PROOF`.
const SELECT_CALL: [u8; 4] = ((0x1b_u32 << 20) | (5 << 7) | 0x13).to_le_bytes();

/// Returns false if `program`, an ELF file, verifies no proofs. A program that contains the call but does not make it
/// returns true, too.
pub(crate) fn may_verify_proofs(program: &[u8]) -> bool {
    // Instructions have four bytes and are aligned, in memory and in the file.
    program.as_chunks::<4>().0.contains(&SELECT_CALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_program_that_verifies_proofs_has_the_call() {
        let check = |name: &str, expected| {
            let path = format!("{}/../../guests/elf/{name}", env!("CARGO_MANIFEST_DIR"));
            assert_eq!(may_verify_proofs(&std::fs::read(path).unwrap()), expected, "{name}");
        };
        check("aggregate", true);
        for other in ["evm", "fibonacci", "memory", "panic", "precompiles"] {
            check(other, false);
        }
    }
}
