//! The result of a task, as its check sees it.

use sp1_hypercube::SP1VerifyingKey;
use sp1d_engine::{
    ProofFile,
    fuzzing::{CheckedTask, core_shards, is_same_shard_proof},
};
use sp1d_fuzz::{FuzzMemory, FuzzTarget};
use sp1d_model::TaskKind;
use std::{env, fs, sync::LazyLock};

/// A result. The first byte of an input selects what the rest is: the result of a task of a kind, or changes of a real
/// proof.
pub const RESULT: FuzzTarget = FuzzTarget {
    name: "result",
    max_bytes: 16 << 10,
    // SP1's verifier and its circuits.
    memory: FuzzMemory { base_bytes: 512 << 20, per_byte: 256 },
    dictionary: &[&[0; 8], &[1, 0, 0, 0, 0, 0, 0, 0], &[0xff; 8], b"\xbb\0\0\0\0\0\0\0", b"\x05\0\0\0\0\0\0\0"],
    seeds,
    check,
};

/// Environment variable with the file of a core proof. Without it, no real proof is changed.
const PROOF_FILE: &str = "SP1D_FUZZ_PROOF";

/// Environment variable with the file of the verifying key of the proof's program.
const KEY_FILE: &str = "SP1D_FUZZ_KEY";

/// A task of each kind. No output is a valid result of any of them: their program does not exist.
static TASKS: LazyLock<Vec<CheckedTask>> = LazyLock::new(|| {
    let key = bincode::deserialize(&[0; 4096]).expect("zeros are a key");
    let task = |kind| CheckedTask::new(kind, &key, [1, 2, 3, 4], 0x7800_0000, (1, 9));
    TaskKind::ALL.into_iter().map(task).collect()
});

/// The core shards of a real proof, each with its result.
static HONEST: LazyLock<Vec<(CheckedTask, Vec<u8>)>> = LazyLock::new(|| {
    let (Some(proof), Some(key)) = (env::var_os(PROOF_FILE), env::var_os(KEY_FILE)) else { return Vec::new() };
    let proof = fs::read(proof).expect("the file of the proof can be read");
    let proof = ProofFile::decode(&proof).expect("the file has a proof");
    let key = fs::read(key).expect("the file of the key can be read");
    let key: SP1VerifyingKey = bincode::deserialize(&key).expect("the file has a key");
    let shards = core_shards(&key, &proof);
    assert!(!shards.is_empty(), "the proof has no core shard");
    shards
});

fn check(input: &[u8]) {
    let Some((selector, rest)) = input.split_first() else { return };
    match TASKS.get(usize::from(*selector) % (TaskKind::ALL.len() + 1)) {
        Some(task) => check_invented(task, rest),
        None => check_changed(rest),
    }
}

/// Checks that an invented result is refused. The input of the task comes first, after its length.
fn check_invented(task: &CheckedTask, bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let (input, output) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    assert!(task.check(output, input).is_err(), "an invented result is accepted");
}

/// Checks that a result is accepted only if it is the real proof. The first byte selects a shard. Each change has a
/// place of 4 bytes and a byte that is added there with XOR. The byte 0 cuts the proof off.
fn check_changed(bytes: &[u8]) {
    let (Some((shard, changes)), false) = (bytes.split_first(), HONEST.is_empty()) else { return };
    let (task, honest) = &HONEST[usize::from(*shard) % HONEST.len()];
    let mut output = honest.clone();
    for &[a, b, c, d, byte] in changes.as_chunks::<5>().0 {
        if output.is_empty() {
            break;
        }
        let place = u32::from_le_bytes([a, b, c, d]) as usize % output.len();
        match byte {
            0 => output.truncate(place),
            _ => output[place] ^= byte,
        }
    }
    match task.check(&output, b"") {
        Ok(()) => assert!(is_same_shard_proof(&output, honest), "a changed proof is accepted"),
        Err(error) => assert!(output != *honest, "the real proof is refused: {error}"),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let kinds = TaskKind::ALL.len() as u8;
    let mut seeds = Vec::new();
    for selector in 0..kinds {
        for length in [0, 8, 600, 8000] {
            seeds.push([&[selector, 0, 0][..], &vec![0; length]].concat());
        }
        // An input of 1000 bytes, and an output whose lists claim to be long.
        seeds.push([&[selector, 0xe8, 3][..], &[0; 1000], &[1, 0, 0, 0, 0, 0, 0, 0], &[0xff; 64]].concat());
    }
    // The real proof, and single changes of it.
    seeds.push(vec![kinds, 0]);
    for place in [0_u32, 8, 100, 1000, 10_000, 100_000, 1_000_000] {
        for byte in [0, 1, 0x80] {
            seeds.push([&[kinds, 0][..], &place.to_le_bytes(), &[byte]].concat());
        }
    }
    seeds
}
