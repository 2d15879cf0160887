//! The decision whether a proof restarts after a failed try, and how.

use crate::{
    runner::{failure::ProofFailure, request::Cut},
    settings::Verify,
};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of restarts of a proof, for all causes together.
    const MAX_RESTARTS: u32 = 2; Count by Worker;
}

/// How a proof is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Restart {
    /// In the same way, because the failure came from outside.
    Same,
    /// With these options, which let the runner choose the cut again. The try excluded small workers, and no large one
    /// is connected any more.
    ChooseCutAgain(String),
    /// With smaller shards, because a shard ran out of memory, or no connected worker has enough memory for it.
    SmallerCut(Cut),
    /// Without the cached results that the failed try used, because they may be wrong. They are already removed from
    /// the result cache.
    WithoutCachedResults,
    /// With every result verified when it arrives, because an unverified result may be wrong.
    VerifyAll,
    /// With the workers' claims about deferred events compared, because they may be wrong: the proof is wrong although
    /// its results are right, or a shard without a marker, perhaps a precompile shard, could not be proven. A worker of
    /// another origin must then make the same claim for each core shard, if such a worker is available or a worker has
    /// made another claim.
    CompareClaims,
}

/// What [`restart_after`] knows about the tries of a proof.
#[derive(Debug, Clone)]
pub(super) struct RestartFacts {
    /// Number of restarts so far.
    pub(super) restarts: u32,
    /// Which results the failed try verified.
    pub(super) verify: Verify,
    /// The options with which the runner chooses the cut again; `None` if the try excluded no worker.
    pub(super) options_to_choose_again: Option<String>,
    /// The next smaller cut, if there is one.
    pub(super) smaller_cut: Option<Cut>,
    /// True if cached results were used since the last [`Restart::WithoutCachedResults`].
    pub(super) has_used_cached_results: bool,
    /// True if an unverified result turned out to be wrong, which explains any failure.
    pub(super) has_wrong_result: bool,
    /// True if a worker made a claim. A claim without events counts too, because events may be missing.
    pub(super) has_claims: bool,
    /// True if a shard that may be made from claimed deferred events could not be proven.
    pub(super) are_claims_suspect: bool,
    /// True if the claims of the workers are already compared.
    pub(super) compares_claims: bool,
}

/// Returns how the proof is tried again after `failure`; `None` if it fails for good.
pub(super) fn restart_after(failure: &ProofFailure, facts: &RestartFacts) -> Option<Restart> {
    if facts.restarts >= MAX_RESTARTS {
        return None;
    }
    match failure {
        ProofFailure::Interrupted(_) => Some(Restart::Same),
        ProofFailure::ShardTooLarge(_) => with_smaller_cut(facts),
        ProofFailure::NoLargeWorkerRemains { .. } => {
            let options_to_choose_again = facts.options_to_choose_again.clone().map(Restart::ChooseCutAgain);
            options_to_choose_again.or_else(|| with_smaller_cut(facts))
        }
        ProofFailure::WrongProof(_) => after_wrong_proof(facts),
        ProofFailure::Internal(_) => after_internal_error(facts),
        ProofFailure::Task { .. } | ProofFailure::TaskOutOfMemory { .. } => after_failed_task(facts),
        ProofFailure::Program(_)
        | ProofFailure::GasLimit { .. }
        | ProofFailure::Request(_)
        | ProofFailure::Machine(_)
        | ProofFailure::Unsupported { .. }
        | ProofFailure::NoWorkers { .. }
        | ProofFailure::WorkersTaken { .. }
        | ProofFailure::WorkersNotReady { .. }
        | ProofFailure::Timeout(_)
        | ProofFailure::LateStart { .. }
        | ProofFailure::Cancelled => None,
    }
}

fn with_smaller_cut(facts: &RestartFacts) -> Option<Restart> {
    facts.smaller_cut.clone().map(Restart::SmallerCut)
}

/// Returns the failure of a proof that does not restart. Its execution does not run again, so an interruption counts as
/// a fault of this machine.
pub(super) fn final_failure(failure: ProofFailure) -> ProofFailure {
    match failure {
        ProofFailure::Interrupted(reason) => ProofFailure::Machine(reason),
        other => other,
    }
}

/// The finished proof does not verify.
fn after_wrong_proof(facts: &RestartFacts) -> Option<Restart> {
    if facts.has_used_cached_results {
        Some(Restart::WithoutCachedResults)
    } else if facts.verify == Verify::Final {
        Some(Restart::VerifyAll)
    } else if facts.has_claims && !facts.compares_claims {
        Some(Restart::CompareClaims)
    } else {
        None
    }
}

/// A defect ended the try. A wrong result may be the cause, for example if results could not be combined.
fn after_internal_error(facts: &RestartFacts) -> Option<Restart> {
    if facts.has_used_cached_results {
        Some(Restart::WithoutCachedResults)
    } else if facts.verify == Verify::Final && facts.has_wrong_result {
        Some(Restart::VerifyAll)
    } else {
        None
    }
}

/// A task failed for good. Its inputs may be the cause: a wrong result, or claimed deferred events.
fn after_failed_task(facts: &RestartFacts) -> Option<Restart> {
    if facts.are_claims_suspect && facts.has_used_cached_results {
        Some(Restart::WithoutCachedResults)
    } else if facts.verify == Verify::Final && facts.has_wrong_result {
        Some(Restart::VerifyAll)
    } else if facts.are_claims_suspect && facts.has_claims && !facts.compares_claims {
        Some(Restart::CompareClaims)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_scheduler::{TaskId, TaskKind};

    /// A first try with every result verified, of which nothing else is known.
    const FIRST: RestartFacts = RestartFacts {
        restarts: 0,
        verify: Verify::All,
        options_to_choose_again: None,
        smaller_cut: None,
        has_used_cached_results: false,
        has_wrong_result: false,
        has_claims: false,
        are_claims_suspect: false,
        compares_claims: false,
    };

    fn wrong_proof() -> ProofFailure {
        ProofFailure::WrongProof("wrong".to_owned())
    }

    fn internal() -> ProofFailure {
        ProofFailure::Internal("broken".to_owned())
    }

    fn failed_task() -> ProofFailure {
        ProofFailure::Task { task: TaskId(1), kind: TaskKind::ProveShard, history: Vec::new() }
    }

    fn task_out_of_memory() -> ProofFailure {
        ProofFailure::TaskOutOfMemory { task: TaskId(1), kind: TaskKind::RecursionReduce, history: Vec::new() }
    }

    fn no_large_worker() -> ProofFailure {
        ProofFailure::NoLargeWorkerRemains { task: TaskId(1), kind: TaskKind::ProveShard }
    }

    /// Checks how a proof restarts after `failure`. At the limit of restarts it must fail, whatever the facts are.
    #[track_caller]
    fn check(failure: &ProofFailure, facts: &RestartFacts, expected: Option<Restart>) {
        assert_eq!(restart_after(failure, facts), expected, "{failure:?} {facts:?}");
        let last_try = RestartFacts { restarts: MAX_RESTARTS, ..facts.clone() };
        assert_eq!(restart_after(failure, &last_try), None, "{failure:?} {last_try:?}");
    }

    #[test]
    fn an_interrupted_execution_restarts_in_the_same_way() {
        check(&ProofFailure::Interrupted("killed".to_owned()), &FIRST, Some(Restart::Same));
        let after_one_restart = RestartFacts { restarts: 1, ..FIRST };
        check(&ProofFailure::Interrupted("killed".to_owned()), &after_one_restart, Some(Restart::Same));
    }

    #[test]
    fn a_shard_that_needs_too_much_memory_leads_to_a_smaller_cut() {
        let cut = Cut { options: "smaller".to_owned(), setting: "ELEMENT_THRESHOLD=1".to_owned() };
        let facts = RestartFacts { smaller_cut: Some(cut.clone()), ..FIRST };
        for failure in [ProofFailure::ShardTooLarge("too large".to_owned()), no_large_worker()] {
            check(&failure, &facts, Some(Restart::SmallerCut(cut.clone())));
            check(&failure, &FIRST, None);
        }
        // Only shards become smaller.
        check(&task_out_of_memory(), &facts, None);
    }

    #[test]
    fn a_try_whose_large_workers_have_left_chooses_its_cut_again() {
        let (options, smaller) = ("auto".to_owned(), Cut { options: "smaller".to_owned(), setting: String::new() });
        let facts = RestartFacts {
            options_to_choose_again: Some(options.clone()),
            smaller_cut: Some(smaller.clone()),
            ..FIRST
        };
        check(&no_large_worker(), &facts, Some(Restart::ChooseCutAgain(options)));
        // The large workers are still there, so the same choice would fail again.
        check(&ProofFailure::ShardTooLarge("too large".to_owned()), &facts, Some(Restart::SmallerCut(smaller)));
    }

    #[test]
    fn cached_results_are_dropped_before_any_other_remedy() {
        let facts = RestartFacts {
            has_used_cached_results: true,
            verify: Verify::Final,
            has_wrong_result: true,
            has_claims: true,
            are_claims_suspect: true,
            ..FIRST
        };
        for failure in [wrong_proof(), internal(), failed_task()] {
            check(&failure, &facts, Some(Restart::WithoutCachedResults));
        }
        check(&failed_task(), &RestartFacts { has_used_cached_results: true, ..FIRST }, None);
    }

    #[test]
    fn results_are_verified_before_claims_are_compared() {
        let verified_at_end = RestartFacts { verify: Verify::Final, ..FIRST };
        check(&wrong_proof(), &verified_at_end, Some(Restart::VerifyAll));
        check(&internal(), &verified_at_end, None);
        check(&failed_task(), &verified_at_end, None);
        let wrong_result = RestartFacts { has_wrong_result: true, are_claims_suspect: true, ..verified_at_end };
        check(&internal(), &wrong_result, Some(Restart::VerifyAll));
        check(&failed_task(), &wrong_result, Some(Restart::VerifyAll));
        check(&task_out_of_memory(), &wrong_result, Some(Restart::VerifyAll));
        let already_verified = RestartFacts { verify: Verify::All, are_claims_suspect: false, ..wrong_result };
        check(&internal(), &already_verified, None);
        check(&failed_task(), &already_verified, None);
    }

    #[test]
    fn claims_are_compared_once() {
        let claimed = RestartFacts { has_claims: true, ..FIRST };
        check(&wrong_proof(), &claimed, Some(Restart::CompareClaims));
        check(&wrong_proof(), &FIRST, None);
        check(&wrong_proof(), &RestartFacts { compares_claims: true, ..claimed.clone() }, None);
        let suspect = RestartFacts { are_claims_suspect: true, ..claimed };
        check(&failed_task(), &suspect, Some(Restart::CompareClaims));
        check(&failed_task(), &RestartFacts { has_claims: false, ..suspect.clone() }, None);
        check(&internal(), &suspect, None);
        check(&failed_task(), &RestartFacts { compares_claims: true, ..suspect }, None);
    }

    #[test]
    fn other_failures_are_final() {
        let facts = RestartFacts {
            options_to_choose_again: Some(String::new()),
            smaller_cut: Some(Cut { options: String::new(), setting: String::new() }),
            verify: Verify::Final,
            has_used_cached_results: true,
            has_wrong_result: true,
            has_claims: true,
            are_claims_suspect: true,
            ..FIRST
        };
        let text = "reason".to_owned();
        for failure in [
            ProofFailure::Program(text.clone()),
            ProofFailure::GasLimit { limit: 1, gas: Some(2) },
            ProofFailure::Request(text.clone()),
            ProofFailure::Machine(text),
            ProofFailure::Timeout(std::time::Duration::from_secs(1)),
            ProofFailure::Cancelled,
        ] {
            check(&failure, &facts, None);
            assert_eq!(final_failure(failure.clone()), failure);
        }
    }

    #[test]
    fn an_interruption_that_is_not_retried_is_a_fault_of_the_machine() {
        let interrupted = ProofFailure::Interrupted("killed".to_owned());
        assert_eq!(final_failure(interrupted), ProofFailure::Machine("killed".to_owned()));
    }
}
