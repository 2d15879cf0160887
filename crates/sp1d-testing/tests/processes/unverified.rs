//! Results and claims that turn out to be wrong after other tasks have used them.

use super::*;

/// Checks a proof with `verify = final` and one of two workers that returns garbage.
#[track_caller]
fn check_unverified(more: &[&str]) {
    let addresses = [free_address(), free_address()];
    let lies = worker_at(addresses[0], "lies", 50, &["--manner", "garbage"]);
    let honest = worker_at(addresses[1], "honest", 50, &[]);
    let arguments = [&["--shards", "8", "--verify-final"], more].concat();
    let orchestrator = check_proven(orchestrator(&addresses, &arguments));
    assert_eq!(orchestrator.output.count("restarted"), 1);
    // The audit finds the worker by the parts that it had delivered. No further wrong result is needed.
    let found = orchestrator.errors.matching(|line| line.contains("worker sent a wrong result"));
    assert!(!found.is_empty() && found.iter().all(|(_, line)| line.contains("worker=lies")), "{found:?}");
    assert_eq!(orchestrator.errors.matching(|line| line.contains("was rejected")).len(), 0);
    drop((lies, honest));
}

#[test]
fn a_wrong_proof_from_unverified_results_is_proven_again_with_verification() {
    check_unverified(&[]);
}

#[test]
fn unverified_results_that_cannot_be_folded_are_proven_again_with_verification() {
    check_unverified(&["--folds"]);
}

#[test]
fn a_worker_that_claims_wrong_events_is_found_by_comparing_them() {
    let addresses = [free_address(), free_address(), free_address()];
    let lies = worker_at(addresses[0], "lies", 50, &["--manner", "events"]);
    let honest = [1, 2].map(|at| worker_at(addresses[at], "honest", 50, &[]));
    let orchestrator = check_proven(orchestrator(&addresses, &["--shards", "8", "--precompiles"]));
    assert_eq!(orchestrator.output.count("restarted"), 1);
    let found = orchestrator.errors.matching(|line| line.contains("worker made a wrong claim")).len();
    assert!(found > 0, "{}", orchestrator.errors.all());
    drop((lies, honest));
}

#[test]
fn two_workers_that_claim_different_events_fail_the_proof() {
    let addresses = [free_address(), free_address()];
    let lies = worker_at(addresses[0], "lies", 50, &["--manner", "events"]);
    let honest = worker_at(addresses[1], "honest", 50, &[]);
    let orchestrator = orchestrator(&addresses, &["--shards", "4", "--precompiles"]);
    let (_, failed) = orchestrator.wait_for("failed ", 1);
    assert!(failed.contains("no worker of another origin confirmed the deferred events that it claims"), "{failed}");
    drop((lies, honest));
}
