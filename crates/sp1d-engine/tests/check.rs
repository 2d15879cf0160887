//! Tests for the check of deferred events that an attempt delivers for a core shard, and for the checks of the expected
//! exit code and of the mode. Checks of proofs are not tested here: making a proof needs a prover.

use sp1_core_executor::{
    SyscallCode,
    events::{
        MemoryLocalEvent, MemoryReadRecord, MemoryRecord, MemoryWriteRecord, Poseidon2PrecompileEvent, PrecompileEvent,
        SyscallEvent,
    },
};
use sp1_prover::worker::{DeferredEvents, PrecompileArtifactSlice};
use sp1_prover_types::Artifact;
use sp1d_artifacts::Blob;
use sp1d_engine::{CutOptions, EventLimits, MarkerSequencer, check_recursion_keys, status_code};
use sp1d_orchestrator::{ExpectedExit, ProofFailure, ProofMode};
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

fn limits() -> EventLimits {
    EventLimits::new(&CutOptions::from_variables(|_| None).unwrap(), 1000, false)
}

/// Checks `list` with the uploaded pieces. All of them must belong to a valid list. An error must contain the expected
/// text.
fn check(list: &[u8], uploaded: &[(&str, Vec<u8>)], expected: Result<(), &str>) {
    check_bytes(u64::MAX, list, uploaded, expected);
}

/// Does the same for a shard whose events have at most `max_bytes`.
fn check_bytes(max_bytes: u64, list: &[u8], uploaded: &[(&str, Vec<u8>)], expected: Result<(), &str>) {
    let uploaded: HashMap<_, _> = uploaded.iter().map(|(name, bytes)| (*name, Blob::encode(bytes))).collect();
    let verdict = limits().check(list, max_bytes, &|name| uploaded.get(name).cloned());
    match (&verdict, expected) {
        (Ok(names), Ok(())) => {
            assert!(names.len() == uploaded.len() && names.iter().all(|name| uploaded.contains_key(name.as_str())));
        }
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
fn events_that_the_shard_cannot_make_are_rejected() {
    let both = [("a", events(2)), ("b", events(2))];
    let list = list(CODE, &[piece("a", 0, 2), piece("b", 0, 2)]);
    let bytes = 2 * events(2).len() as u64;
    check_bytes(bytes, &list, &both, Ok(()));
    check_bytes(bytes - 1, &list, &both, Err("the shard cannot make as many"));
    assert_eq!(limits().max_bytes(0), 0);
}

#[test]
fn events_of_real_calls_are_within_the_limits() {
    let (read, written) = (MemoryReadRecord::default(), MemoryWriteRecord::default());
    let record = MemoryRecord { timestamp: 0, value: 0 };
    let local = MemoryLocalEvent { addr: 0, initial_mem_access: record, final_mem_access: record };
    let call = Poseidon2PrecompileEvent {
        clk: 0,
        ptr: 0,
        memory_records: vec![written; 8],
        page_prot_records: Vec::new(),
        local_mem_access: vec![local; 8],
        local_page_prot_access: Vec::new(),
    };
    let (syscall, _): (SyscallEvent, PrecompileEvent) = bincode::deserialize(&[0; 4096]).unwrap();
    // The call reads 8 words, and writes them with their old values.
    let accesses = 8 + 2 * 8;
    let bytes = bincode::serialize(&(syscall, PrecompileEvent::POSEIDON2(call))).unwrap().len() as u64;
    assert!(2 * bytes < limits().max_bytes(accesses), "{bytes} bytes");
    // The precompile with the fewest bytes that do not belong to an access reads 25 words and writes them.
    let bytes = 25 * bincode::serialize(&(read, written, local, 0_u64, 0_u64)).unwrap().len() as u64;
    assert!(2 * bytes < limits().max_bytes(75), "{bytes} bytes");
}

#[test]
fn an_event_that_is_larger_than_any_is_not_decoded() {
    // The event ends with the lengths of five empty lists. The first list claims more elements than the piece has.
    let mut large = events(1);
    let at = large.len() - 40;
    large.splice(at..at + 8, u64::MAX.to_le_bytes());
    large.resize(1 << 20, 0);
    check(&list(CODE, &[piece("a", 0, 1)]), &[("a", large)], Err("size limit"));
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

#[test]
fn a_build_that_cannot_check_recursion_keys_makes_core_proofs_only() {
    for mode in [ProofMode::Core, ProofMode::Compressed, ProofMode::Groth16, ProofMode::Plonk] {
        assert_eq!(check_recursion_keys(mode, true), Ok(()), "{mode}");
        let refused = check_recursion_keys(mode, false);
        let text = refused.err().map(|failure| failure.to_string()).unwrap_or_default();
        assert_eq!(text.contains("mprotect") && text.contains("hint: "), mode != ProofMode::Core, "{mode}: {text}");
    }
}
