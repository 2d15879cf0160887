//! A program: an ELF file for SP1.

use sp1d_engine::check_program;
use sp1d_fuzz::{FuzzMemory, FuzzTarget};
use std::fs;

/// A program.
pub const ELF: FuzzTarget = FuzzTarget {
    name: "elf",
    max_bytes: 128 << 10,
    // The memory of a program, zeros included, has at most 128 MiB. SP1's decoder makes an entry of up to 39 bytes for
    // every 8 of them, and its table doubles: the old and the new one exist at the same time.
    memory: FuzzMemory { base_bytes: 2 << 30, per_byte: 64 },
    dictionary: &[b"\x7fELF\x02\x01\x01", b"\xf3\x00", b"\x73\x00\x00\x00", b"\x93\x02\xb0\x01", b"\x00\x00\x00\x80"],
    seeds,
    check,
};

fn check(input: &[u8]) {
    let outcome = check_program(input);
    let is_program = input.starts_with(b"\x7fELF\x02") && input.get(18..20) == Some(&[243, 0][..]);
    assert!(outcome.is_err() || is_program, "a file for another machine is accepted");
    if let Err(error) = outcome {
        // The text becomes the reason of a failed request.
        assert!(error.to_string().lines().skip(1).all(|line| line.starts_with("hint: ")), "{error}");
    }
}

/// Returns a program of these instructions, and of as many bytes of zeros after them.
fn program(instructions: &[u32], zeros: u64) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    const START: u64 = 0x7800_0000;
    let code: Vec<u8> = instructions.iter().flat_map(|instruction| instruction.to_le_bytes()).collect();
    let length = code.len() as u64;
    // The header: 64-bit, little-endian, an executable for RISC-V with one segment and no sections.
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xf3\0\x01\0\0\0".to_vec();
    file.extend([START, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
    // The segment: loaded, readable and executable.
    file.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    file.extend([HEADERS, START, START, length, length + zeros, 0x1000].map(u64::to_le_bytes).concat());
    file.extend(code);
    file
}

fn seeds() -> Vec<Vec<u8>> {
    // `li t0, 0`, `li a0, 0`, `ecall`: the program halts.
    let halt = [0x0000_0293, 0x0000_0513, 0x0000_0073];
    let guest = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests/elf/spin"));
    vec![
        program(&halt, 0),
        program(&halt, 4096),
        program(&[0xffff_ffff], 0),
        program(&halt, u64::MAX / 2),
        guest.expect("the repository contains the program"),
    ]
}
