//! Verifies proofs one after another.

use sp1d_orchestrator::ProofFailure;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio_util::sync::CancellationToken;

/// Verifies the input proofs `proofs` with `verify`, which may panic. Ends before the next proof when `stop` is
/// cancelled. Blocks.
///
/// # Errors
/// Fails with the position of the first proof that does not verify, or with [`ProofFailure::Cancelled`].
pub(super) fn verify_each<P>(
    proofs: impl IntoIterator<Item = P>,
    verify: impl Fn(P) -> Result<(), String>,
    stop: &CancellationToken,
) -> Result<(), ProofFailure> {
    for (number, proof) in (1_u64..).zip(proofs) {
        if stop.is_cancelled() {
            return Err(ProofFailure::Cancelled);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| verify(proof)));
        let verified = outcome.unwrap_or_else(|_| Err("SP1's verifier panicked on it".to_owned()));
        verified.map_err(|reason| {
            ProofFailure::Request(format!(
                "input proof {number} does not verify: {reason}\n\
                 hint: pass `write_proof` a compressed proof and the verifying key of the proven program"
            ))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Checks the outcome for three proofs, and how many of them are verified. `verify` gets the number of the proof.
    #[track_caller]
    fn check(verify: impl Fn(u64, &CancellationToken) -> Result<(), String>, expected: Result<(), &str>, looks: u64) {
        let (stop, looked) = (CancellationToken::new(), Cell::new(0));
        let verify = |number| {
            looked.set(looked.get() + 1);
            verify(number, &stop)
        };
        let found = verify_each([1, 2, 3], verify, &stop);
        match (&found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(failure), Err(part)) => assert!(failure.to_string().contains(part), "{failure}"),
            _ => panic!("{found:?}, expected {expected:?}"),
        }
        assert_eq!(looked.get(), looks);
    }

    #[test]
    fn all_proofs_are_verified() {
        check(|_, _| Ok(()), Ok(()), 3);
    }

    #[test]
    fn the_first_invalid_proof_is_named() {
        let verify = |number, _: &CancellationToken| if number == 2 { Err("wrong".to_owned()) } else { Ok(()) };
        check(verify, Err("input proof 2 does not verify: wrong\nhint: "), 2);
    }

    #[test]
    fn a_verifier_that_panics_refuses_the_proof() {
        let verify = |number, _: &CancellationToken| {
            assert!(number != 1, "a defect of the verifier");
            Ok(())
        };
        check(verify, Err("input proof 1 does not verify: SP1's verifier panicked on it"), 1);
    }

    #[test]
    fn no_proof_is_verified_after_the_stop() {
        let verify = |_, stop: &CancellationToken| {
            stop.cancel();
            Ok(())
        };
        check(verify, Err(&ProofFailure::Cancelled.to_string()), 1);
    }
}
