//! Keccak-256 by the prover's precompile, for `alloy-primitives` and revm.
//!
//! With its feature `native-keccak`, `alloy_primitives::keccak256` calls an external function, [`native_keccak256`]. The EVM's
//! `KECCAK256` instruction, code hashes and the state root all use it.

use std::slice;

use sp1_zkvm::syscalls::syscall_keccak_permute;

/// Bytes that one permutation absorbs: 1600 bits of state minus twice the 256 bits of the hash.
const RATE: usize = 136;

/// `alloy-primitives` declares this function and calls it.
///
/// # Safety
///
/// `bytes` points to `len` readable bytes. `output` points to 32 writable bytes, which may be uninitialized.
#[unsafe(no_mangle)]
unsafe extern "C" fn native_keccak256(bytes: *const u8, len: usize, output: *mut u8) {
    // SAFETY: the caller promises `len` readable bytes.
    let input = unsafe { slice::from_raw_parts(bytes, len) };
    let hash = keccak256(input);
    // SAFETY: the caller promises 32 writable bytes, and a byte array needs no alignment.
    unsafe { output.cast::<[u8; 32]>().write(hash) };
}

fn keccak256(input: &[u8]) -> [u8; 32] {
    let mut state = [0_u64; 25];

    let (blocks, rest) = input.as_chunks::<RATE>();
    for block in blocks {
        absorb(&mut state, block);
    }

    // Keccak pads with 0x01 (SHA-3 pads with 0x06) and 0x80. Both are in one byte if only one byte is free.
    let mut last = [0_u8; RATE];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x01;
    last[RATE - 1] |= 0x80;
    absorb(&mut state, &last);

    let mut hash = [0_u8; 32];
    for (bytes, lane) in hash.chunks_exact_mut(8).zip(state) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
    hash
}

fn absorb(state: &mut [u64; 25], block: &[u8; RATE]) {
    let (lanes, _) = block.as_chunks::<8>();
    for (lane, bytes) in state.iter_mut().zip(lanes) {
        *lane ^= u64::from_le_bytes(*bytes);
    }
    syscall_keccak_permute(state);
}
