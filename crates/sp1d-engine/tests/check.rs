//! Tests for the check of deferred events that an attempt delivers for a core shard, and for the check of the expected
//! exit code. Checks of proofs are not tested here: making a proof needs a prover.

use sp1_core_executor::{
    SyscallCode,
    events::{PrecompileEvent, SyscallEvent},
};
use sp1_prover::worker::{DeferredEvents, PrecompileArtifactSlice};
use sp1_prover_types::Artifact;
use sp1d_artifacts::Blob;
use sp1d_engine::{CutOptions, EventLimits, MarkerSequencer, status_code};
use sp1d_orchestrator::{ExpectedExit, ProofFailure};
use std::collections::HashMap;

const CODE: SyscallCode = SyscallCode::KECCAK_PERMUTE;

/// Returns `count` events, serialized. An event of zeros is valid.
fn events(count: usize) -> Vec<u8> {
    let event: (SyscallEvent, PrecompileEvent) = bincode::deserialize(&[0; 4096]).unwrap();
    bincode::serialize(&vec![event; count]).unwrap()
}

fn piece(name: &str, start_idx: usize, end_idx: usize) -> PrecompileArtifactSlice {
    PrecompileArtifactSlice { artifact: Artifact(name.to_owned()), start_idx, end_idx }
}

/// Returns a list of deferred events with one precompile code, serialized.
fn list(code: SyscallCode, pieces: &[PrecompileArtifactSlice]) -> Vec<u8> {
    let mut list = DeferredEvents::empty();
    list.0.insert(code, pieces.to_vec());
    bincode::serialize(&list).unwrap()
}

/// Checks `list` with the uploaded pieces. An error must contain the expected text.
fn check(list: &[u8], uploaded: &[(&str, Vec<u8>)], expected: Result<(), &str>) {
    let options = CutOptions::from_variables(|_| None).unwrap();
    let limits = EventLimits::new(&options, 1000, false);
    let uploaded: HashMap<_, _> = uploaded.iter().map(|(name, bytes)| (*name, Blob::encode(bytes))).collect();
    let verdict = limits.check(list, &|name| uploaded.get(name).cloned());
    match (&verdict, expected) {
        (Ok(()), Ok(())) => {}
        (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason:?} does not contain {part:?}"),
        _ => panic!("{verdict:?}, expected {expected:?}"),
    }
}

#[test]
fn events_in_the_format_of_sp1_are_accepted() {
    check(&list(CODE, &[piece("a", 0, 2)]), &[("a", events(2))], Ok(()));
    check(&list(CODE, &[piece("a", 0, 3), piece("b", 0, 1)]), &[("a", events(3)), ("b", events(1))], Ok(()));
    check(&bincode::serialize(&DeferredEvents::empty()).unwrap(), &[], Ok(()));
}

#[test]
fn a_list_that_does_not_decode_completely_is_rejected() {
    check(b"garbage", &[], Err("cannot be decoded"));
    check(&[0xff; 64], &[], Err("cannot be decoded"));
    let mut longer = list(CODE, &[piece("a", 0, 2)]);
    longer.push(0);
    check(&longer, &[("a", events(2))], Err("cannot be decoded"));
}

#[test]
fn events_of_codes_that_are_never_deferred_are_rejected() {
    // Not a precompile, a precompile without a table, and a precompile whose calls stay in their core shard.
    for code in [SyscallCode::HALT, SyscallCode::SECP256K1_DECOMPRESS, SyscallCode::SHA_EXTEND] {
        check(&list(code, &[piece("a", 0, 2)]), &[("a", events(2))], Err("never deferred"));
        check(&list(code, &[]), &[], Err("never deferred"));
    }
}

#[test]
fn a_piece_with_a_wrong_range_or_count_is_rejected() {
    let uploaded = [("a", events(2))];
    for (start, end) in [(1, 2), (2, 1), (0, 0), (0, usize::MAX), (usize::MAX, usize::MAX)] {
        check(&list(CODE, &[piece("a", start, end)]), &uploaded, Err("a range starts at 0"));
    }
    check(&list(CODE, &[piece("a", 0, 1)]), &uploaded, Err("it has 2 events, its list announces 1"));
    check(&list(CODE, &[piece("a", 0, 3)]), &uploaded, Err("it has 2 events, its list announces 3"));
}

#[test]
fn a_piece_with_extra_missing_or_invalid_bytes_is_rejected() {
    let list = list(CODE, &[piece("a", 0, 2)]);
    let mut longer = events(2);
    longer.push(0);
    check(&list, &[("a", longer)], Err("bytes follow"));
    let mut shorter = events(2);
    shorter.pop();
    check(&list, &[("a", shorter)], Err("invalid piece"));
    check(&list, &[("a", Vec::new())], Err("invalid piece"));
    // The number is as announced, but the bytes are not events.
    check(&list, &[("a", [&2_u64.to_le_bytes()[..], &[0xff; 500]].concat())], Err("invalid piece"));
}

#[test]
fn a_piece_that_is_missing_or_named_twice_is_rejected() {
    check(&list(CODE, &[piece("b", 0, 2)]), &[("a", events(2))], Err("not uploaded"));
    check(&list(CODE, &[piece("a", 0, 2), piece("a", 0, 2)]), &[("a", events(2))], Err("twice"));
}

/// Adds the markers of shards with these clock ranges, in this order. `released` contains the markers released after
/// each one, and `held` the markers that are still held back at the end. A marker is the start of its clock range.
fn check_order(clocks: &[(u64, u64)], released: &[&[u64]], held: &[u64]) {
    let mut sequencer = MarkerSequencer::default();
    let found: Vec<_> = clocks.iter().map(|clock| sequencer.complete(*clock, clock.0)).collect();
    assert_eq!(found, released);
    assert_eq!(sequencer.release_all(), held);
}

#[test]
fn markers_are_released_in_the_order_of_the_programs_clock() {
    check_order(&[(1, 5), (5, 9), (9, 12)], &[&[1], &[5], &[9]], &[]);
    check_order(&[(9, 12), (5, 9), (1, 5)], &[&[], &[], &[1, 5, 9]], &[]);
    check_order(&[(5, 9), (1, 5), (12, 13), (9, 12)], &[&[], &[1, 5], &[], &[9, 12]], &[]);
}

#[test]
fn markers_with_gaps_or_duplicates_are_not_lost() {
    check_order(&[(1, 5), (6, 9), (9, 12)], &[&[1], &[], &[]], &[6, 9]);
    check_order(&[(1, 5), (0, 3), (5, 9), (5, 9)], &[&[1], &[0], &[5], &[5]], &[]);
    check_order(&[(5, 9), (5, 9)], &[&[], &[5]], &[5]);
}

#[test]
fn the_order_is_given_up_when_too_many_markers_wait() {
    let mut sequencer = MarkerSequencer::default();
    let mut released =
        (2..260).map(|start| sequencer.complete((start, start + 1), start)).filter(|markers| !markers.is_empty());
    let all = released.next().unwrap();
    assert_eq!((all.len(), all[0]), (257, 2));
    assert_eq!(released.collect::<Vec<_>>(), [vec![259]]);
    assert_eq!(sequencer.complete((1, 2), 1), [1]);
}

#[test]
fn an_exit_code_that_sp1_does_not_define_is_refused() {
    for code in [0, 1, 3] {
        assert_eq!(status_code(ExpectedExit::Code(code)).map(|status| status.as_u32()), Ok(code));
    }
    let refused = status_code(ExpectedExit::Code(2));
    assert!(
        matches!(&refused, Err(ProofFailure::Request(text)) if text.contains("exit codes 0, 1 and 3")),
        "{refused:?}"
    );
}
