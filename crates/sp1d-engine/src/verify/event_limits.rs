//! Bounds and checks the deferred events that workers upload.

use super::decoding::decode;
use crate::options::CutOptions;
use bincode::Options;
use serde::Deserialize;
use sp1_core_executor::{
    SplitOpts, SyscallCode,
    events::{PrecompileEvent, SyscallEvent},
};
use sp1_prover::worker::{DeferredEvents, PrecompileArtifactSlice};
use sp1d_artifacts::Blob;
use std::collections::HashSet;

/// Largest piece of deferred events in bytes. The events of a whole precompile shard have 300 MB at most, and a piece
/// contains events of only one core shard.
const MAX_PIECE_BYTES: u64 = 1 << 30;

/// Bounds the deferred events that a worker may upload for a core shard. SP1's controller makes precompile
/// shards of them without checking them.
#[derive(Debug, Clone)]
pub struct EventLimits {
    split: SplitOpts,
    /// Precompiles whose calls stay in their core shard.
    retained: HashSet<SyscallCode>,
}

impl EventLimits {
    /// Computes the limits for a program of `instructions` instructions. `untrusted` is true if it may run code that it
    /// loads.
    ///
    /// # Panics
    /// Panics if the program does not fit into a shard of that size.
    #[must_use]
    pub fn new(options: &CutOptions, instructions: usize, untrusted: bool) -> Self {
        let options = options.as_sp1();
        let retained = options.retained_events_presets.iter().flat_map(|preset| preset.syscall_codes()).copied();
        Self { split: SplitOpts::new(options, instructions, untrusted), retained: retained.collect() }
    }

    /// Returns the largest number of events of `code` in one piece. Returns 0 if no such events are allowed: SP1's
    /// controller would never finish cutting them into shards.
    fn max_events(&self, code: SyscallCode) -> usize {
        if self.retained.contains(&code) { 0 } else { self.split.syscall_threshold[code] }
    }

    /// Returns the trace cells of `events` calls of `code`. A shard with `room` cells holds the threshold number of
    /// calls.
    pub(super) fn part_of_shard(&self, code: SyscallCode, events: usize, room: u64) -> u64 {
        let threshold = self.split.syscall_threshold[code].max(1) as u64;
        let cells = u128::from(room) * events as u128 / u128::from(threshold);
        u64::try_from(cells).unwrap_or(u64::MAX)
    }

    /// Checks `list`, a serialized [`DeferredEvents`], and the pieces that it names. `uploaded` finds a piece among
    /// the artifacts that the same attempt uploaded.
    ///
    /// This check cannot tell whether the events belong to the shard. If they do not, the parts of the proof do not sum
    /// up.
    ///
    /// # Errors
    /// Fails with the first problem of the list or of a piece.
    pub fn check(&self, list: &[u8], uploaded: &dyn Fn(&str) -> Option<Blob>) -> Result<(), String> {
        let DeferredEvents(events) =
            decode(list).map_err(|error| format!("invalid list of deferred events: {error}"))?;
        let mut names = HashSet::new();
        for (code, pieces) in &events {
            let max_events = self.max_events(*code);
            if max_events == 0 {
                return Err(format!(
                    "the list of deferred events contains events of {code:?}, which are never deferred"
                ));
            }
            for PrecompileArtifactSlice { artifact, start_idx, end_idx } in pieces {
                let name = artifact.0.as_str();
                if *start_idx != 0 || *end_idx == 0 || *end_idx > max_events {
                    return Err(format!(
                        "the list of deferred events contains a piece of {code:?} with the range {start_idx} to \
                         {end_idx}; a range starts at 0 and has 1 to {max_events} events"
                    ));
                }
                if !names.insert(name) {
                    return Err(format!("the list of deferred events contains piece {name} twice"));
                }
                let piece =
                    uploaded(name).ok_or_else(|| format!("piece {name:?} of the deferred events was not uploaded"))?;
                check_piece(piece, *end_idx)
                    .map_err(|error| format!("invalid piece {name} of the deferred events: {error}"))?;
            }
        }
        Ok(())
    }
}

/// Checks that `piece` consists of `count` events. Decodes them one by one, because all of them at once take many times
/// the memory of their bytes.
fn check_piece(piece: Blob, count: usize) -> Result<(), String> {
    if piece.len() > MAX_PIECE_BYTES {
        return Err(format!("it has {} bytes, at most {MAX_PIECE_BYTES} are allowed", piece.len()));
    }
    let bytes = piece.decode().map_err(|error| error.to_string())?;
    let options = bincode::DefaultOptions::new().with_fixint_encoding();
    let mut reader = bincode::Deserializer::from_slice(&bytes, options);
    let found = u64::deserialize(&mut reader).map_err(|error| error.to_string())?;
    if found != count as u64 {
        return Err(format!("it has {found} events, its list announces {count}"));
    }
    for _ in 0..count {
        <(SyscallEvent, PrecompileEvent)>::deserialize(&mut reader).map_err(|error| error.to_string())?;
    }
    match u8::deserialize(&mut reader) {
        Ok(_) => Err("bytes follow the last event".to_owned()),
        Err(_) => Ok(()),
    }
}
