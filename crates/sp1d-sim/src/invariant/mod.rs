//! What must be true after every step. Each invariant has its own file.
//!
//! Where possible, an invariant judges the events and commands of the scheduler, not what the scheduler reports about
//! its own state.

mod a_finished_proof_is_complete_and_correct;
mod a_new_name_has_no_better_record;
mod a_proof_fails_only_for_real_failures;
mod a_proof_is_never_forgotten;
mod a_task_completes_once;
mod a_wrong_marker_is_never_completed;
mod all;
mod at_most_one_live_attempt;
mod every_proof_ends;
mod later_reports_change_nothing;
mod live_attempts;
mod no_limit_is_exceeded;
mod nothing_starts_for_an_ended_proof;
mod only_silence_ends_a_session;
mod only_trusted_workers_get_private_tasks;
mod property;
mod resumable_task_returns_to_its_worker;
mod step;
mod the_dispatch_agrees;
mod the_scheduler_indexes_agree;
mod watchers_see_every_end;

#[cfg(test)]
mod example;

pub(crate) use all::Invariants;
pub(crate) use live_attempts::LiveAttempts;
pub(crate) use property::Violation;
pub(crate) use step::{SimOutcome, SimStep};
pub(crate) use the_dispatch_agrees::TheDispatchAgrees;
pub(crate) use watchers_see_every_end::WatchersSeeEveryEnd;
