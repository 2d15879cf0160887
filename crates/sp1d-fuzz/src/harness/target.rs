//! A fuzz target, and the memory that it may take.

use peak_alloc::PeakAlloc;
use std::sync::{Mutex, PoisonError};

/// Counts the memory that the whole process has requested.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Held while a target runs: the memory of the process can be counted for one run at a time only.
static ALONE: Mutex<()> = Mutex::new(());

/// Code that reads untrusted bytes, and what must hold for every input.
#[derive(Debug, Clone, Copy)]
pub struct FuzzTarget {
    /// Name, as `./x fuzz` takes it.
    pub name: &'static str,
    /// Maximum length of an input in bytes.
    pub max_bytes: usize,
    /// The memory that an input may take.
    pub memory: FuzzMemory,
    /// Byte strings that are likely to reach new code.
    pub dictionary: &'static [&'static [u8]],
    /// Returns real inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Runs the code on an input. Panics if a property does not hold.
    pub check: fn(&[u8]),
}

/// The memory that an input may take: what does not depend on the input, and as many bytes more for each of its bytes.
#[derive(Debug, Clone, Copy)]
pub struct FuzzMemory {
    /// Bytes for any input.
    pub base_bytes: usize,
    /// Bytes for each byte of the input.
    pub per_byte: usize,
}

impl FuzzTarget {
    /// Runs the target on `input`.
    ///
    /// # Panics
    /// Panics if a property does not hold, or if the input takes too much memory.
    pub fn run(&self, input: &[u8]) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        (self.check)(input);
        let used = MEMORY.peak_usage().saturating_sub(before);
        let allowed = self.memory.base_bytes + self.memory.per_byte * input.len();
        assert!(
            used <= allowed,
            "{} takes {used} bytes of memory for {} bytes of input, {allowed} are allowed",
            self.name,
            input.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reserves as many MiB as the first byte says, and uses none of them.
    fn reserve(input: &[u8]) {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(usize::from(input[0]) << 20)));
    }

    const RESERVE: FuzzTarget = FuzzTarget {
        name: "reserve",
        max_bytes: 1,
        memory: FuzzMemory { base_bytes: 4 << 20, per_byte: 1 << 20 },
        dictionary: &[],
        seeds: Vec::new,
        check: reserve,
    };

    #[test]
    fn memory_within_the_bound_is_accepted() {
        RESERVE.run(&[3]);
    }

    #[test]
    #[should_panic(expected = "reserve takes")]
    fn unused_memory_beyond_the_bound_is_found() {
        RESERVE.run(&[200]);
    }
}
