//! Which proof is suspected when the service crashed.
//!
//! A proof can bring down the whole process, for example by using all memory. If several proofs were running, any of
//! them may be the cause. Then each of them is a *suspect*: it runs alone for a while, one after the other, the
//! strongest suspect first. A crash while only one proof runs counts against that proof, and a proof with too many of
//! them fails. After its time alone, a suspect runs beside the others, so that one long proof does not hold up
//! all of them. If a crash follows nevertheless, its next time alone is twice as long. So the cause at some time runs
//! alone for long enough to do its harm, and no other proof fails because of it.

use std::time::Duration;

/// How long a proof runs alone after it was running at one crash.
const FIRST_TIME_ALONE: Duration = Duration::from_secs(5 * 60);

/// The time alone is doubled at most this many times, to 21 hours.
const MAX_DOUBLINGS: u32 = 8;

/// What a crash says about a proof that was running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CrashEvidence {
    /// By how much its suspicion rises.
    pub(super) suspicion: u32,
    /// Whether it was the only one, so that the crash is its own.
    pub(super) is_own: bool,
}

/// Returns what a crash says about a proof that was one of `running` proofs, and whether it `was_suspect`, which means
/// that it was in its time alone. Others that had passed theirs may have been running too.
pub(super) fn crash_evidence(running: usize, was_suspect: bool) -> CrashEvidence {
    if running <= 1 {
        return CrashEvidence { suspicion: 1, is_own: true };
    }
    // The proof that has just started is more likely the cause. It is the first to run alone next time.
    CrashEvidence { suspicion: if was_suspect { 2 } else { 1 }, is_own: false }
}

/// Returns how long a suspect with this `suspicion` runs alone.
pub(super) fn time_alone(suspicion: u32) -> Duration {
    FIRST_TIME_ALONE * 2_u32.pow(suspicion.saturating_sub(1).min(MAX_DOUBLINGS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crash_of_a_proof_that_ran_alone_is_its_own() {
        // Number of running proofs, whether this one was a suspect, its new suspicion, and whether the crash is its
        // own.
        let cases =
            [(1, false, 1, true), (1, true, 1, true), (2, false, 1, false), (2, true, 2, false), (9, false, 1, false)];
        for (running, was_suspect, suspicion, is_own) in cases {
            let evidence = crash_evidence(running, was_suspect);
            assert_eq!(evidence, CrashEvidence { suspicion, is_own }, "{running} {was_suspect}");
        }
    }

    #[test]
    fn time_alone_doubles_with_the_suspicion() {
        let minutes = |suspicion| time_alone(suspicion).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 9, 10, u32::MAX].map(minutes), [5, 5, 10, 20, 1280, 1280, 1280]);
    }
}
