//! What is believed of the events that a core shard's attempt delivers. Proofs are not checked here: making one takes a
//! prover.

use artifacts::Blob;
use sp1_core_executor::{
    SyscallCode,
    events::{PrecompileEvent, SyscallEvent},
};
use sp1_distributed_engine::{CutOptions, EventLimits, MarkerOrder};
use sp1_prover::worker::{DeferredEvents, PrecompileArtifactSlice};
use sp1_prover_types::Artifact;
use std::collections::HashMap;

const CODE: SyscallCode = SyscallCode::KECCAK_PERMUTE;

/// As many events, serialised. Zeros are one.
fn events(count: usize) -> Vec<u8> {
    let event: (SyscallEvent, PrecompileEvent) = bincode::deserialize(&[0; 4096]).unwrap();
    bincode::serialize(&vec![event; count]).unwrap()
}

fn piece(name: &str, start_idx: usize, end_idx: usize) -> PrecompileArtifactSlice {
    PrecompileArtifactSlice { artifact: Artifact(name.to_owned()), start_idx, end_idx }
}

/// A list of events of one code, serialised.
fn list(code: SyscallCode, pieces: &[PrecompileArtifactSlice]) -> Vec<u8> {
    let mut list = DeferredEvents::empty();
    list.0.insert(code, pieces.to_vec());
    bincode::serialize(&list).unwrap()
}

/// Checks `list` beside the pieces that were delivered; the verdict must have `expected` in it.
fn check(list: &[u8], delivered: &[(&str, Vec<u8>)], expected: Result<(), &str>) {
    let options = CutOptions::from_variables(|_| None).unwrap();
    let limits = EventLimits::new(&options, 1000, false);
    let delivered: HashMap<_, _> = delivered.iter().map(|(name, bytes)| (*name, Blob::encode(bytes))).collect();
    let verdict = limits.check(list, &|name| delivered.get(name).cloned());
    match (&verdict, expected) {
        (Ok(()), Ok(())) => {}
        (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason:?} has no {part:?} in it"),
        _ => panic!("{verdict:?}, expected {expected:?}"),
    }
}

#[test]
fn events_as_sp1_delivers_them_are_believed() {
    check(&list(CODE, &[piece("a", 0, 2)]), &[("a", events(2))], Ok(()));
    check(&list(CODE, &[piece("a", 0, 3), piece("b", 0, 1)]), &[("a", events(3)), ("b", events(1))], Ok(()));
    check(&bincode::serialize(&DeferredEvents::empty()).unwrap(), &[], Ok(()));
}

#[test]
fn a_list_of_events_decodes_to_its_last_byte() {
    check(b"garbage", &[], Err("does not decode"));
    check(&[0xff; 64], &[], Err("does not decode"));
    let mut longer = list(CODE, &[piece("a", 0, 2)]);
    longer.push(0);
    check(&longer, &[("a", events(2))], Err("does not decode"));
}

#[test]
fn events_are_of_precompiles_that_are_proven_apart() {
    // No precompile; one without a table; one whose calls stay in their shard.
    for code in [SyscallCode::HALT, SyscallCode::SECP256K1_DECOMPRESS, SyscallCode::SHA_EXTEND] {
        check(&list(code, &[piece("a", 0, 2)]), &[("a", events(2))], Err("not proven apart"));
        check(&list(code, &[]), &[], Err("not proven apart"));
    }
}

#[test]
fn a_piece_begins_at_its_beginning_and_is_as_long_as_it_says() {
    let delivered = [("a", events(2))];
    for (start, end) in [(1, 2), (2, 1), (0, 0), (0, usize::MAX), (usize::MAX, usize::MAX)] {
        check(&list(CODE, &[piece("a", start, end)]), &delivered, Err("of at most"));
    }
    check(&list(CODE, &[piece("a", 0, 1)]), &delivered, Err("they are 2, announced were 1"));
    check(&list(CODE, &[piece("a", 0, 3)]), &delivered, Err("they are 2, announced were 3"));
}

#[test]
fn a_piece_is_events_and_nothing_else() {
    let list = list(CODE, &[piece("a", 0, 2)]);
    let mut longer = events(2);
    longer.push(0);
    check(&list, &[("a", longer)], Err("something follows"));
    let mut shorter = events(2);
    shorter.pop();
    check(&list, &[("a", shorter)], Err("are none"));
    check(&list, &[("a", Vec::new())], Err("are none"));
    // Two of the announced kind in number only.
    check(&list, &[("a", [&2_u64.to_le_bytes()[..], &[0xff; 500]].concat())], Err("are none"));
}

#[test]
fn pieces_are_delivered_with_their_list_and_used_once() {
    check(&list(CODE, &[piece("b", 0, 2)]), &[("a", events(2))], Err("not delivered"));
    check(&list(CODE, &[piece("a", 0, 2), piece("a", 0, 2)]), &[("a", events(2))], Err("named twice"));
}

/// Shards of the clock, in the order in which their events come: what is told after each, and what is left at the end.
fn check_order(clocks: &[(u64, u64)], told: &[&[u64]], rest: &[u64]) {
    let mut order = MarkerOrder::default();
    let now: Vec<_> = clocks.iter().map(|clock| order.complete(*clock, clock.0)).collect();
    assert_eq!(now, told);
    assert_eq!(order.rest(), rest);
}

#[test]
fn events_are_told_in_the_order_of_the_programs_clock() {
    check_order(&[(1, 5), (5, 9), (9, 12)], &[&[1], &[5], &[9]], &[]);
    check_order(&[(9, 12), (5, 9), (1, 5)], &[&[], &[], &[1, 5, 9]], &[]);
    check_order(&[(5, 9), (1, 5), (12, 13), (9, 12)], &[&[], &[1, 5], &[], &[9, 12]], &[]);
}

#[test]
fn no_events_are_lost_that_stand_where_none_were_expected() {
    check_order(&[(1, 5), (6, 9), (9, 12)], &[&[1], &[], &[]], &[6, 9]);
    check_order(&[(1, 5), (0, 3), (5, 9), (5, 9)], &[&[1], &[0], &[5], &[5]], &[]);
    check_order(&[(5, 9), (5, 9)], &[&[], &[5]], &[5]);
}

#[test]
fn the_order_is_given_up_when_too_many_are_early() {
    let mut order = MarkerOrder::default();
    let mut told = (2..260).map(|begin| order.complete((begin, begin + 1), begin)).filter(|now| !now.is_empty());
    let all = told.next().unwrap();
    assert_eq!((all.len(), all[0]), (257, 2));
    assert_eq!(told.collect::<Vec<_>>(), [vec![259]]);
    assert_eq!(order.complete((1, 2), 1), [1]);
}
