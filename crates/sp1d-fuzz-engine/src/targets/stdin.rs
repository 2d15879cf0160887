//! The input of a program: a serialized `SP1Stdin`.

use bincode::Options;
use sp1_core_machine::io::SP1Stdin;
use sp1d_engine::check_input;
use sp1d_fuzz::{FuzzMemory, FuzzTarget};

/// An input.
pub const STDIN: FuzzTarget = FuzzTarget {
    name: "stdin",
    max_bytes: 16 << 10,
    // Each list of a proof reserves up to 1 MiB before its first element is decoded, and lists are nested.
    memory: FuzzMemory { base_bytes: 16 << 20, per_byte: 64 },
    dictionary: &[&[0; 8], &[1, 0, 0, 0, 0, 0, 0, 0], &[0xff; 8], &[0, 0, 0x10, 0, 0, 0, 0, 0]],
    seeds,
    check,
};

fn check(mut input: &[u8]) {
    let whole = input;
    if check_input(&mut input).is_ok() {
        let options = bincode::options().with_fixint_encoding().reject_trailing_bytes();
        let decoded: Result<SP1Stdin, _> = options.deserialize(whole);
        assert!(decoded.is_ok(), "an input that was accepted cannot be decoded");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let serialized = |write: fn(&mut SP1Stdin)| {
        let mut stdin = SP1Stdin::new();
        write(&mut stdin);
        bincode::serialize(&stdin).expect("an input can be serialized")
    };
    let number = |number: u64| number.to_le_bytes();
    // A proof with a map, whose first key claims to have 48 MiB.
    let long_key = || {
        let mut input = vec![0; 1000];
        for (at, byte) in [(16, 1), (128, 1), (153, 227), (165, 64), (180, 1), (196, 1), (290, 1), (310, 1)] {
            input[at] = byte;
        }
        input[312..320].copy_from_slice(&number(48 << 20));
        input
    };
    vec![
        serialized(|_| {}),
        serialized(|stdin| stdin.write(&7_u32)),
        serialized(|stdin| (0..20).for_each(|length| stdin.write_vec(vec![1; length]))),
        // A proof follows, and its lists claim to be long.
        [number(0), number(0), number(1), number(u64::MAX), [0; 8], [0; 8]].concat(),
        [[0; 8], [0; 8], number(1)].concat().into_iter().chain(vec![0; 4000]).collect(),
        long_key(),
    ]
}
