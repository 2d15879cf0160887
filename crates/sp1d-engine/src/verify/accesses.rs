//! Counts the memory accesses of a core shard that need rows of their own in SP1's tables of memory.

/// The clock moves by this much with each instruction (SP1's `CLK_INC`).
const CLOCK_STEP: u64 = 8;

/// The longest run of a shard that is looked at, in instructions: 2 MiB for each of two sets.
const MAX_INSTRUCTIONS: u64 = 1 << 24;

/// Counts the accesses of a chunk that open an address: the first access to it in the shard, and the first by an
/// instruction after a precompile has accessed it. SP1 gives each of them a row of `MemoryLocal` and two of `Global`,
/// because a precompile accesses memory in a shard of its own. The result is rather too large than too small: it
/// includes some addresses that one precompile takes over from another.
///
/// Each access of `accesses` is the time of the previous access to its address and the value, 8 bytes each. `clock` is
/// the start and the end of the shard.
///
/// An instruction accesses one address at a time, so a time that several accesses name is that of a precompile. The
/// latest time named so far tells whether that precompile is over: its own accesses name no later one.
pub(crate) fn count_opened(accesses: &[u8], clock: (u64, u64)) -> u64 {
    let (accesses, _) = accesses.as_chunks::<16>();
    let (start, end) = clock;
    let instructions = (end.saturating_sub(start) / CLOCK_STEP + 1).min(MAX_INSTRUCTIONS);
    let (mut once, mut more) = (BitSet::new(instructions), BitSet::new(instructions));
    let (mut opened, mut latest) = (0, 0);
    for access in accesses {
        let time = u64::from_le_bytes(*access.first_chunk().expect("an access has 16 bytes"));
        let Some(passed) = time.checked_sub(start) else {
            opened += 1;
            continue;
        };
        // SP1 stores values that are no accesses with the time `u64::MAX`.
        if time >= end {
            continue;
        }
        let instruction = passed / CLOCK_STEP;
        if !once.insert(instruction) {
            more.insert(instruction);
        }
        opened += u64::from(more.contains(instruction) && instruction < latest);
        latest = latest.max(instruction);
    }
    opened
}

/// Counts how often a core shard asks for the length of the next input value. Programs ask before each read of a value.
/// In place of an access, SP1 stores such a length with the time `u64::MAX`. The length `u64::MAX` stands for the end
/// of the input. `accesses` has the form of [`count_opened`].
pub(crate) fn count_input_reads(accesses: &[u8]) -> u64 {
    let (accesses, _) = accesses.as_chunks::<16>();
    let is_read = |access: &&[u8; 16]| access.starts_with(&[u8::MAX; 8]) && !access.ends_with(&[u8::MAX; 8]);
    accesses.iter().filter(is_read).count() as u64
}

/// A set of numbers below a bound. It does not keep larger ones.
struct BitSet(Vec<u64>);

impl BitSet {
    fn new(bound: u64) -> Self {
        Self(vec![0; bound.div_ceil(64) as usize])
    }

    /// Returns false if the number was in the set, or is too large for it.
    fn insert(&mut self, number: u64) -> bool {
        let Some(word) = self.0.get_mut((number / 64) as usize) else { return false };
        let bit = 1 << (number % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn contains(&self, number: u64) -> bool {
        self.0.get((number / 64) as usize).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accesses that name these times, in a shard from 1001 to 9001.
    #[track_caller]
    fn check(times: &[u64], opened: u64) {
        let bytes: Vec<u8> = times.iter().flat_map(|time| [time.to_le_bytes(), [7; 8]].concat()).collect();
        assert_eq!(count_opened(&bytes, (1001, 9001)), opened, "{times:?}");
    }

    #[test]
    fn the_first_access_to_an_address_opens_it() {
        check(&[0, 993, 1000], 3);
        check(&[1001, 1009, 1017], 0);
        check(&[], 0);
    }

    #[test]
    fn the_first_access_after_a_precompile_opens_the_address() {
        // A precompile at 2001 reads three addresses and writes them. The program then reads them again.
        let precompile = [1009, 1017, 1025, 2001, 2001, 2001];
        check(&precompile, 0);
        let later = [3001, 2002, 2002, 2002];
        check(&[&precompile[..], &later].concat(), 3);
    }

    #[test]
    fn stored_values_are_no_accesses() {
        check(&[u64::MAX, u64::MAX, 9001, 9001], 0);
    }

    #[test]
    fn lengths_of_input_values_are_counted() {
        let bytes = |pairs: &[(u64, u64)]| -> Vec<u8> {
            pairs.iter().flat_map(|(time, value)| [time.to_le_bytes(), value.to_le_bytes()].concat()).collect()
        };
        let check = |pairs: &[(u64, u64)], reads| assert_eq!(count_input_reads(&bytes(pairs)), reads, "{pairs:?}");
        check(&[], 0);
        check(&[(1001, 4), (u64::MAX - 1, 4), (1009, u64::MAX)], 0);
        check(&[(u64::MAX, 4), (1001, 7), (u64::MAX, 0)], 2);
        // A program that asks at the end of its input reads nothing.
        check(&[(u64::MAX, 4), (u64::MAX, u64::MAX)], 1);
    }

    #[test]
    fn a_long_shard_needs_bounded_memory() {
        let accesses = [u64::MAX - 1; 4].map(u64::to_le_bytes).concat();
        assert_eq!(count_opened(&accesses, (0, u64::MAX)), 0);
    }
}
