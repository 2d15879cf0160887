//! Verifies compressed proofs of other programs: one proof that stands for many.
//!
//! Reads `count: u32`, then for each proof the digest of its verifying key, `[u32; 8]`, and its public values, `Vec<u8>`. The proofs
//! themselves are no input of the program: the prover takes them, in the same order, from beside the input. Commits 32 bytes, the
//! SHA-256 of what was verified: `count`, then for each proof the eight words of the digest and the SHA-256 of the public values, all
//! numbers little-endian.

#![no_main]
sp1_zkvm::entrypoint!(main);

use sha2::{Digest, Sha256};
use sp1_zkvm::lib::verify::verify_sp1_proof;

pub fn main() {
    let count: u32 = sp1_zkvm::io::read();

    let mut verified = Sha256::new();
    verified.update(count.to_le_bytes());
    for _ in 0..count {
        let vkey_digest: [u32; 8] = sp1_zkvm::io::read();
        let public_values: Vec<u8> = sp1_zkvm::io::read();
        let public_values_digest: [u8; 32] = Sha256::digest(&public_values).into();

        verify_sp1_proof(&vkey_digest, &public_values_digest);

        for word in vkey_digest {
            verified.update(word.to_le_bytes());
        }
        verified.update(public_values_digest);
    }

    sp1_zkvm::io::commit_slice(&verified.finalize());
}
