//! A proof that stays open while the bench submits tasks to it, and the times of its attempts.

mod attempt_times;
mod checks;
mod open_proof;

pub(crate) use attempt_times::{AttemptTimes, EventRecorder};
pub(crate) use checks::LoadChecks;
pub(crate) use open_proof::OpenProof;
