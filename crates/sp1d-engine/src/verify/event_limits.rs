//! Bounds and checks the deferred events that workers upload.

use super::decoding::decode;
use crate::options::CutOptions;
use bincode::Options;
use serde::de::DeserializeOwned;
use sp1_core_executor::{
    SplitOpts, SyscallCode,
    events::{PrecompileEvent, SyscallEvent},
};
use sp1_prover::worker::{DeferredEvents, PrecompileArtifactSlice};
use sp1d_artifacts::{Blob, BlobReader};
use std::{collections::HashSet, io::Read};

sp1d_model::limits! {
    /// Maximum bytes of one event. The largest is that of `SHA_EXTEND`, with 48 steps of five accesses: about 20 kB if
    /// the program may load code, and 10 kB otherwise.
    const MAX_EVENT_BYTES: u64 = 64 << 10; Bytes by Worker;
    /// Maximum bytes of events for each access in the record of a core shard. SP1 makes the events from these accesses.
    /// An access of an event takes about 100 bytes, and each event has 300 bytes more and at least 12 accesses.
    const MAX_BYTES_PER_ACCESS: u64 = 512; Bytes by Worker;
    /// The same for a program that may load code. An event that only checks a page has about 1,000 bytes and one
    /// access.
    const MAX_BYTES_PER_UNTRUSTED_ACCESS: u64 = 2048; Bytes by Worker;
}

/// Bounds the deferred events that a worker may upload for a core shard. SP1's controller makes precompile
/// shards of them without checking them.
#[derive(Debug, Clone)]
pub struct EventLimits {
    split: SplitOpts,
    /// True if the program may run code that it loads.
    may_write_instructions: bool,
    /// Precompiles whose calls stay in their core shard.
    retained: HashSet<SyscallCode>,
}

impl EventLimits {
    /// Computes the limits for a program of `instructions` instructions. `may_write_instructions` is true if it may run
    /// code that it loads.
    ///
    /// # Panics
    /// Panics if the program does not fit into a shard of that size.
    #[must_use]
    pub fn new(options: &CutOptions, instructions: usize, may_write_instructions: bool) -> Self {
        let options = options.as_sp1();
        let retained = options.retained_events_presets.iter().flat_map(|preset| preset.syscall_codes()).copied();
        Self {
            split: SplitOpts::new(options, instructions, may_write_instructions),
            may_write_instructions,
            retained: retained.collect(),
        }
    }

    /// Returns the largest number of events of `code` in one piece. Returns 0 if no such events are allowed: SP1's
    /// controller would never finish cutting them into shards.
    fn max_events(&self, code: SyscallCode) -> usize {
        if self.retained.contains(&code) { 0 } else { self.split.syscall_threshold[code] }
    }

    /// Returns the maximum number of bytes of the events of a core shard whose record has this many accesses.
    #[must_use]
    pub fn max_bytes(&self, accesses: u64) -> u64 {
        accesses.saturating_mul(if self.may_write_instructions {
            MAX_BYTES_PER_UNTRUSTED_ACCESS
        } else {
            MAX_BYTES_PER_ACCESS
        })
    }

    /// Returns the trace cells of `events` calls of `code`. A shard with `room` cells holds the threshold number of
    /// calls.
    pub(super) fn part_of_shard(&self, code: SyscallCode, events: usize, room: u64) -> u64 {
        let threshold = self.split.syscall_threshold[code].max(1) as u64;
        let cells = u128::from(room) * events as u128 / u128::from(threshold);
        u64::try_from(cells).unwrap_or(u64::MAX)
    }

    /// Checks `list`, a serialized [`DeferredEvents`], and the pieces that it names. `uploaded` finds a piece among
    /// the artifacts that the same attempt uploaded. All pieces together have at most `max_bytes`, see
    /// [`EventLimits::max_bytes`]. Returns the names of the pieces.
    ///
    /// This check cannot tell whether the events belong to the shard. If they do not, the parts of the proof do not sum
    /// up.
    ///
    /// # Errors
    /// Fails with the first problem of the list or of a piece.
    pub fn check(
        &self,
        list: &[u8],
        max_bytes: u64,
        uploaded: &dyn Fn(&str) -> Option<Blob>,
    ) -> Result<Vec<String>, String> {
        let DeferredEvents(events) =
            decode(list).map_err(|error| format!("invalid list of deferred events: {error}"))?;
        let mut names = HashSet::new();
        let mut left = max_bytes;
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
                left = left.checked_sub(piece.len()).ok_or_else(|| {
                    format!("the deferred events have more than {max_bytes} bytes, and the shard cannot make as many")
                })?;
                check_piece(piece, *end_idx)
                    .map_err(|error| format!("invalid piece {name} of the deferred events: {error}"))?;
            }
        }
        Ok(names.into_iter().map(str::to_owned).collect())
    }
}

/// Checks that `piece` consists of `count` events. Decodes one chunk and one event at a time, so that the memory for
/// the check does not depend on the size of the piece.
fn check_piece(piece: Blob, count: usize) -> Result<(), String> {
    let mut reader = BlobReader::new(piece);
    let found: u64 = read_next(&mut reader)?;
    if found != count as u64 {
        return Err(format!("it has {found} events, its list announces {count}"));
    }
    for _ in 0..count {
        read_next::<(SyscallEvent, PrecompileEvent)>(&mut reader)?;
    }
    match reader.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err("bytes follow the last event".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads the next value of a piece. It has at most [`MAX_EVENT_BYTES`].
fn read_next<T: DeserializeOwned>(reader: &mut BlobReader) -> Result<T, String> {
    let options = bincode::DefaultOptions::new().with_fixint_encoding().with_limit(MAX_EVENT_BYTES);
    options.deserialize_from(reader).map_err(|error| error.to_string())
}
