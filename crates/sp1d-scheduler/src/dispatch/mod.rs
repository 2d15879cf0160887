//! The dispatch state machine owns the scheduler and filters the workers' reports.
//!
//! The scheduler learns two things about a marker: that it was submitted, and that it is complete. A marker is complete
//! when the deferred events have passed their check and the claim about them is accepted (`DeferredEventsAccepted`).
//!
//! The result of an attempt becomes final only after its own check. When that check starts depends on the deferred
//! events and the claim:
//!
//! 1. If the events were not reported, or events and claim are accepted, the check of the result starts at once.
//! 2. If the events are being checked, the check of the result starts when events and claim are accepted. If they are
//!    rejected, the result is dropped.
//! 3. If events or claim were rejected, the result is dropped.
//! 4. If they were rejected while the worker was disconnected, the worker may return and continue the attempt. It then
//!    repeats its reports, the events are checked again, and case 1 or 2 follows.
//!
//! In cases 1 and 2, the scheduler hears of the result at once. The end of the session ends none of the checks.
//!
//! ```text
//!   DispatchEvent + Timestamp ──► DispatchState::handle ──► Vec<DispatchCommand>
//!                                  │         ▲
//!                                Event    Command
//!                                  ▼         │
//!                              Scheduler::handle
//! ```
//!
//! The dispatch state machine also compares deferred claims. It decides which worker resumes which attempt after the
//! orchestrator has restarted, and when the wait for a drain ends. It deliberately knows no artifacts, connections,
//! threads or clocks: its driver carries out the commands. The orchestrator and the simulation drive the same code.
//!
//! Most events and commands have the same name and meaning on both sides, and their types say what they carry. The
//! tables list those that differ. The driver has no access to the scheduler's events, so every report passes the
//! filter.
//!
//! | events of the driver | events of the scheduler |
//! |---|---|
//! | `DeferredEventsUploaded` | none |
//! | `DeferredEventsChecked`, claim accepted | `ProvenWrong` for each refuted worker, then `DeferredEventsAccepted` |
//! | `DeferredEventsChecked`, otherwise | `AttemptFailed` |
//! | `CheckDelayed` before the result | held back until the result arrives, then sent if the check still runs |
//! | `ResultChecked` | `ResultPassed` or `ResultRejected` |
//! | `DrainRequested` before `WorkerReady` | `WorkerReady` with `draining` |
//!
//! | commands to the driver | commands of the scheduler |
//! |---|---|
//! | `EndDrainWait` | `WorkerDrained`; the wait also ends when the drain is cancelled or the session ends |
//! | `FailTry` names the cause | `FailTry` says whether the task failed because no ready worker is large enough |
//! | `LogQuarantine`, `LogProbation` | `Quarantine`, `Probation`; the scheduler enforces them itself |
//! | `Cancel` | `Cancel`; also if deferred events are rejected while the attempt proves |
//! | `CheckDeferredEvents`, `CheckResult`, `LogRefutedClaim`, `PublishStep` | none |

mod attempt;
mod claim_history;
mod command;
mod deferred_events_check;
mod early_drains;
mod event;
mod invariants;
mod on_deferred_events;
mod open_tasks;
mod resumable;
mod state_machine;

#[cfg(test)]
mod tests;

pub use claim_history::{ClaimHistory, DeferredClaim};
pub use command::{AttemptStep, DispatchCommand, TryFailureCause};
pub(crate) use early_drains::LIMITS as DISPATCH_LIMITS;
pub use event::DispatchEvent;
pub use resumable::{ResultKey, ResumableAttempt};
pub use state_machine::DispatchState;
