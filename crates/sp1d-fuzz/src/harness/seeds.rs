//! Runs a target without libFuzzer.

use super::target::FuzzTarget;
use std::sync::{Mutex, PoisonError};

/// Held while a target's seeds are made and run. Otherwise their memory would count for the input of another target.
static ALONE: Mutex<()> = Mutex::new(());

/// Maximum number of places in a seed that are changed.
const PLACES: usize = 32;

/// Runs a target on its seeds, on seeds that are cut off, and on seeds with a changed byte.
///
/// # Panics
/// Panics if a property of the target does not hold, or if libFuzzer would cut a seed off.
pub fn check_seeds(target: &FuzzTarget) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    target.run(b"");
    for seed in &seeds {
        assert!(seed.len() <= target.max_bytes, "a seed of {} has {} bytes", target.name, seed.len());
        target.run(seed);
        for at in (0..seed.len()).step_by(seed.len().div_ceil(PLACES).max(1)) {
            target.run(&seed[..at]);
            for change in [1, 0x80, 0xff] {
                let mut changed = seed.clone();
                changed[at] ^= change;
                target.run(&changed);
            }
        }
    }
}
