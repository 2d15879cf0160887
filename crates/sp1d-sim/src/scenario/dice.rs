//! Random numbers that depend only on the seed.

use std::{ops::RangeInclusive, time::Duration};

/// What a generator is for. Each purpose has its own sequence, so that one more random number for one purpose does not
/// change the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Setting,
    Plan,
    Faults,
    Machines,
    World,
    Origins,
}

/// A seeded random number generator.
#[derive(Debug, Clone)]
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        Self(fastrand::Rng::with_seed(mixed(mixed(seed) ^ purpose as u64)))
    }

    pub(crate) fn number(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.u64(range)
    }

    /// Returns an index below `len`. `len` must not be 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.0.usize(0..len)
    }

    /// Returns true with a probability of `per_mille` in 1000.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.0.u64(0..1000) < per_mille
    }

    /// Returns a duration of that many milliseconds.
    pub(crate) fn ms(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }
}

/// Scrambles `number` with the finalizer of SplitMix64.
pub(crate) const fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_and_purpose_determine_the_sequence() {
        let throws = |seed, purpose| {
            let mut dice = Dice::new(seed, purpose);
            (0..20).map(|_| dice.number(0..=u64::MAX)).collect::<Vec<_>>()
        };
        assert_eq!(throws(7, Purpose::Plan), throws(7, Purpose::Plan));
        assert_ne!(throws(7, Purpose::Plan), throws(8, Purpose::Plan));
        assert_ne!(throws(7, Purpose::Plan), throws(7, Purpose::Faults));
    }
}
