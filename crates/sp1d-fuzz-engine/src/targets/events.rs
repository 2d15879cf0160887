//! The deferred events that a worker uploads for a core shard: their list, and its pieces.

use sp1_core_executor::{
    SyscallCode,
    events::{PrecompileEvent, SyscallEvent},
};
use sp1_prover::worker::{DeferredEvents, PrecompileArtifactSlice};
use sp1_prover_types::Artifact;
use sp1d_artifacts::Blob;
use sp1d_engine::{CutOptions, EventLimits};
use sp1d_fuzz::{FuzzMemory, FuzzTarget};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// A list of deferred events and its pieces, each after its length. The pieces have the names `a`, `b` and so on.
pub const EVENTS: FuzzTarget = FuzzTarget {
    name: "events",
    max_bytes: 64 << 10,
    // Buffers of 1 MiB for a decoded chunk, and up to 1 MiB for each list of an event before its first element.
    memory: FuzzMemory { base_bytes: 32 << 20, per_byte: 128 },
    dictionary: &[b"\x01\0\0\0\0\0\0\0a", b"\x01\0\0\0\0\0\0\0b", &[0xff; 8], &[1, 0, 0, 0, 0, 0, 0, 0], &[0; 16]],
    seeds,
    check,
};

/// Maximum number of bytes of the events of a shard.
const MAX_BYTES: u64 = 32 << 10;

static LIMITS: LazyLock<EventLimits> = LazyLock::new(|| {
    let options = CutOptions::from_variables(|_| None).expect("the default options are valid");
    EventLimits::new(&options, 1000, false)
});

/// Takes a length of 2 bytes, and as many bytes.
fn take<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = input.split_first_chunk()?;
    let (taken, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    *input = rest;
    Some(taken)
}

fn check(mut input: &[u8]) {
    let Some(list) = take(&mut input) else { return };
    let mut pieces = BTreeMap::new();
    for name in 'a'..='z' {
        let Some(piece) = take(&mut input) else { break };
        pieces.insert(name.to_string(), Blob::encode(piece));
    }
    let Ok(names) = LIMITS.check(list, MAX_BYTES, &|name| pieces.get(name).cloned()) else { return };
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a piece is named twice");
    let lengths = names.iter().map(|name| pieces.get(name).expect("a piece was not uploaded").len());
    assert!(lengths.sum::<u64>() <= MAX_BYTES, "the events are longer than those of any shard");
    let DeferredEvents(events) = bincode::deserialize(list).expect("the list was checked");
    for PrecompileArtifactSlice { artifact, start_idx, end_idx } in events.values().flatten() {
        let piece = pieces[&artifact.0].clone().decode().expect("the piece was checked");
        let decoded: Vec<(SyscallEvent, PrecompileEvent)> =
            bincode::deserialize(&piece).expect("SP1 can decode the piece");
        assert_eq!((0, decoded.len()), (*start_idx, *end_idx));
    }
}

/// Returns `count` events, serialized. An event of zeros is valid.
fn events(count: usize) -> Vec<u8> {
    let event: (SyscallEvent, PrecompileEvent) = bincode::deserialize(&[0; 4096]).expect("zeros are an event");
    bincode::serialize(&vec![event; count]).expect("events can be serialized")
}

fn piece(name: &str, end_idx: usize) -> PrecompileArtifactSlice {
    PrecompileArtifactSlice { artifact: Artifact(name.to_owned()), start_idx: 0, end_idx }
}

/// Returns an input with a list of these pieces of `code`, and the uploads `uploaded`.
fn input(code: SyscallCode, pieces: &[PrecompileArtifactSlice], uploaded: &[Vec<u8>]) -> Vec<u8> {
    let mut list = DeferredEvents::empty();
    list.0.insert(code, pieces.to_vec());
    let list = bincode::serialize(&list).expect("a list can be serialized");
    let mut input = Vec::new();
    for part in std::iter::once(&list).chain(uploaded) {
        input.extend(u16::try_from(part.len()).expect("the parts are short").to_le_bytes());
        input.extend(part);
    }
    input
}

fn seeds() -> Vec<Vec<u8>> {
    let code = SyscallCode::KECCAK_PERMUTE;
    vec![
        input(code, &[], &[]),
        input(code, &[piece("a", 2)], &[events(2)]),
        input(code, &[piece("a", 3), piece("b", 1)], &[events(3), events(1)]),
        input(SyscallCode::POSEIDON2, &[piece("a", 1)], &[events(1)]),
        input(SyscallCode::HALT, &[piece("a", 1)], &[events(1)]),
        input(code, &[piece("a", 2), piece("a", 2)], &[events(2)]),
        input(code, &[piece("b", 2)], &[events(2)]),
    ]
}
