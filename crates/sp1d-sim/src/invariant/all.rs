//! The list of all invariants.

use super::{
    a_finished_proof_is_complete_and_correct::AFinishedProofIsCompleteAndCorrect,
    a_new_name_has_no_better_record::ANewNameHasNoBetterRecord,
    a_proof_fails_only_for_real_failures::AProofFailsOnlyForRealFailures,
    a_proof_is_never_forgotten::AProofIsNeverForgotten,
    a_task_completes_once::ATaskCompletesOnce,
    a_wrong_marker_is_never_completed::AWrongMarkerIsNeverCompleted,
    at_most_one_live_attempt::AtMostOneLiveAttempt,
    every_proof_ends::EveryProofEnds,
    later_reports_change_nothing::LaterReportsChangeNothing,
    no_limit_is_exceeded::NoLimitIsExceeded,
    nothing_starts_for_an_ended_proof::NothingStartsForAnEndedProof,
    only_silence_ends_a_session::OnlySilenceEndsASession,
    only_trusted_workers_get_private_tasks::OnlyTrustedWorkersGetPrivateTasks,
    property::{Invariant, Violation},
    resumable_task_returns_to_its_worker::ResumableTaskReturnsToItsWorker,
    step::SimStep,
    the_scheduler_indexes_agree::TheSchedulerIndexesAgree,
};
use sp1d_scheduler::Timestamp;

/// All invariants.
pub(crate) struct Invariants(Vec<Box<dyn Invariant>>);

impl Invariants {
    /// `deadline` is the time at which every proof must have ended.
    pub(crate) fn all(deadline: Timestamp) -> Self {
        Self(vec![
            Box::new(AFinishedProofIsCompleteAndCorrect::default()),
            Box::new(ANewNameHasNoBetterRecord::default()),
            Box::new(AProofFailsOnlyForRealFailures::default()),
            Box::new(AProofIsNeverForgotten::default()),
            Box::new(ATaskCompletesOnce::default()),
            Box::new(AWrongMarkerIsNeverCompleted),
            Box::new(AtMostOneLiveAttempt::default()),
            Box::new(EveryProofEnds::new(deadline)),
            Box::new(LaterReportsChangeNothing::default()),
            Box::new(NoLimitIsExceeded::default()),
            Box::new(NothingStartsForAnEndedProof::default()),
            Box::new(OnlySilenceEndsASession::default()),
            Box::new(OnlyTrustedWorkersGetPrivateTasks::default()),
            Box::new(TheSchedulerIndexesAgree::default()),
            Box::new(ResumableTaskReturnsToItsWorker::default()),
        ])
    }

    pub(crate) fn check(&mut self, step: &SimStep<'_>) -> Result<(), Violation> {
        self.0.iter_mut().try_for_each(|invariant| {
            invariant.check(step).map_err(|what| Violation::new(invariant.name(), format!("{what}\n  {step}")))
        })
    }

    pub(crate) fn check_end(&mut self, step: &SimStep<'_>) -> Result<(), Violation> {
        self.0
            .iter_mut()
            .try_for_each(|invariant| invariant.check_end(step).map_err(|what| Violation::new(invariant.name(), what)))
    }
}
