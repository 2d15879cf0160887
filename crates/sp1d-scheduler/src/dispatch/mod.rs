//! The dispatch machine owns the scheduler and filters the workers' reports. The scheduler knows each marker from its
//! submission. It learns that a marker is complete (`MarkerAccepted`) only after the deferred events were checked and
//! the claims accepted. A delivered result goes to the scheduler at once, unless the attempt's deferred events are
//! being checked. Then the result waits. If the events or the claims are rejected, the result is dropped. A result
//! becomes final only after its own check.
//!
//! ```text
//!   DispatchEvent + Timestamp ──► DispatchMachine::handle ──► Vec<DispatchCommand>
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
//! | `ResultChecked` | `ResultPassed` or `ResultRejected` |
//! | `TaskSubmitted` and `WorkerJoined` name keys of results | they name tasks and sessions |
//! | `DrainRequested` before `WorkerJoined` | `WorkerJoined` with `draining` |
//! | `EndDrainWait` | `WorkerDrained`; the wait also ends when the drain is cancelled or the session ends |
//! | `FailProof` with `is_out_of_memory` and `are_claims_suspect` | `FailProof` with `has_no_larger_worker` |
//! | `LogQuarantine`, `LogProbation` | `Quarantine`, `Probation`; the scheduler enforces them itself |
//! | `CheckMarker`, `JudgeClaims`, `CheckResult`, `PublishStep` | none |

mod attempt;
mod claims_verdict;
mod command;
mod early_drains;
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
pub use state_machine::DispatchMachine;
