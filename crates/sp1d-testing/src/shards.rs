//! The inputs and results of shards, as honest workers make them.

use sp1d_artifacts::Digest;

/// What all shards have in common.
pub(crate) const COMMON_INPUT: &[u8] = b"common input";

/// First line of the record of the shard of precompiles. The names of the deferred events of all other shards follow.
const PRECOMPILES: &str = "precompiles";

/// Returns the record of the shard of precompiles. `events` names the deferred events of all other shards.
pub(crate) fn precompile_record(events: &[String]) -> Vec<u8> {
    let lines: Vec<&str> = [PRECOMPILES].into_iter().chain(events.iter().map(String::as_str)).collect();
    lines.join("\n").into_bytes()
}

/// Returns the names of the deferred events in `record`. `None` if it is not the record of the shard of precompiles.
pub(crate) fn events_in(record: &[u8]) -> Option<Vec<String>> {
    let mut lines = str::from_utf8(record).ok()?.lines();
    (lines.next()? == PRECOMPILES).then(|| lines.map(str::to_owned).collect())
}

/// Returns the deferred events of a shard that honest workers claim for these inputs.
#[must_use]
pub fn events_of(inputs: &[u8]) -> Vec<u8> {
    [b"events of ", &Digest::of(inputs).as_bytes()[..]].concat()
}

/// Returns the record of shard `shard`: its number, then bytes that do not compress.
#[must_use]
pub fn record(shard: u64, bytes: usize) -> Vec<u8> {
    let mut state = shard;
    let mut next = || {
        // SplitMix64, from Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let mut content = shard.to_le_bytes().to_vec();
    while content.len() < bytes {
        content.extend(next().to_le_bytes());
    }
    content.truncate(bytes.max(8));
    content
}

/// Returns the number of the shard that a record belongs to.
pub(crate) fn shard_of(record: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(record.get(..8)?.try_into().ok()?))
}

/// Returns the result that an honest worker delivers for its concatenated inputs: the bytes in reverse order.
#[must_use]
pub fn honest_result(inputs: &[u8]) -> Vec<u8> {
    inputs.iter().rev().copied().collect()
}

/// Returns the proof that honest workers produce for `shards` shards.
#[must_use]
pub fn expected_proof(shards: u64, record_bytes: usize) -> Vec<u8> {
    proof_with(b"program", COMMON_INPUT, shards, record_bytes)
}

/// Same as [`expected_proof`], for shards of `program` that have `common_input` in common.
pub(crate) fn proof_with(program: &[u8], common_input: &[u8], shards: u64, record_bytes: usize) -> Vec<u8> {
    let input = |shard: u64| [program, common_input, &record(shard, record_bytes)].concat();
    (0..shards).flat_map(|shard| digest_of(&honest_result(&input(shard)))).collect()
}

/// A proof contains the digests of the results, because results are as large as records.
pub(crate) fn digest_of(result: &[u8]) -> [u8; 32] {
    *Digest::of(result).as_bytes()
}
