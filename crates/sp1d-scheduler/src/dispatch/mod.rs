//! The dispatch filters the workers' reports. A marker reaches the scheduler only after its checks. A delivered result
//! reaches it at once, or after a running check of the marker, and becomes final only after the check of the result.
//!
//! ```text
//!   DispatchEvent + Timestamp ──► Dispatch::handle ──► Vec<DispatchCommand>
//!                                  │         ▲
//!                                Event    Command
//!                                  ▼         │
//!                              Scheduler::handle
//! ```
//!
//! It also decides what a verdict on deferred claims means, which worker resumes which attempt after the orchestrator
//! has restarted, and when the wait for a drain ends. It deliberately knows no artifacts, connections, threads or
//! clocks: its driver carries out the commands. The orchestrator and the simulation drive the same code.
//!
//! Most events and commands have the same name and meaning on both sides. The others:
//!
//! | the driver's side | the scheduler's side |
//! |---|---|
//! | `MarkerReported`, `MarkerChecked`, `ClaimsJudged` | `MarkerAccepted` after all three, or `AttemptFailed` |
//! | `ResultChecked` | `ResultVerified` or `ResultRejected` |
//! | `TaskSubmitted` and `WorkerJoined` name keys of results | they name tasks and sessions |
//! | `EndDrainWait` | `WorkerDrained`; the wait also ends with a drain or a session |
//! | `CheckMarker`, `JudgeClaims`, `CheckResult`, `PublishStep` | none |

mod attempt;
mod claims_verdict;
mod command;
mod event;
mod invariants;
mod resumable;
mod state_machine;

#[cfg(test)]
mod tests;

pub use claims_verdict::ClaimsVerdict;
pub use command::{AttemptStep, DispatchCommand};
pub use event::DispatchEvent;
pub use resumable::{ResultKey, ResumableAttempt};
pub use state_machine::Dispatch;
