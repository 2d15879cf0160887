//! Keccak and SHA-256 by the prover's own circuits: proofs with precompile shards beside the ordinary ones.
//!
//! Reads `rounds: u32`; commits 32 bytes, the SHA-256 state after the last round, big-endian as SHA-256 prints it. A round permutes
//! the Keccak state, hashes its first eight lanes as one SHA-256 block (each lane as two words, the high one first; no padding
//! follows), and xors the new SHA-256 state into the lanes that were hashed. So neither precompile's work can be left out.

#![no_main]
sp1_zkvm::entrypoint!(main);

use sp1_zkvm::syscalls::{syscall_keccak_permute, syscall_sha256_compress, syscall_sha256_extend};

/// SHA-256's initial state. The precompiles take one 32-bit word in each `u64`.
const SHA256_INITIAL: [u64; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

pub fn main() {
    let rounds: u32 = sp1_zkvm::io::read();

    let mut keccak = [0_u64; 25];
    let mut sha256 = SHA256_INITIAL;
    for _ in 0..rounds {
        syscall_keccak_permute(&mut keccak);

        let mut schedule = [0_u64; 64];
        for (lane, words) in keccak.iter().zip(schedule[..16].chunks_exact_mut(2)) {
            words[0] = lane >> 32;
            words[1] = lane & 0xffff_ffff;
        }
        syscall_sha256_extend(&mut schedule);
        syscall_sha256_compress(&mut schedule, &mut sha256);

        for (lane, word) in keccak.iter_mut().zip(sha256) {
            *lane ^= word;
        }
    }

    for word in sha256 {
        sp1_zkvm::io::commit_slice(&(word as u32).to_be_bytes());
    }
}
