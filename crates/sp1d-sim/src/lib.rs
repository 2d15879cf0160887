//! The real dispatch state machine and scheduler in a simulated world.
//!
//! ```text
//!   seed ─► scenario: WorldParameters, Plan, InjectedFaults
//!                        │
//!                        ▼
//!   run: World ─► Driver ──Event──► DispatchState ──Command──► Driver
//!                   ▲      each step: invariant, observe         │
//!                   └─── cluster: SimLink ◄── SimMachine ◄───────┘
//! ```
//!
//! One seed determines everything: the number of workers and tasks, the speed of each machine, and what breaks when.
//! There is no clock, no thread and no unordered map, so a failing seed fails again in the same way. In the *safety
//! phase* faults strike, and no invariant may break. In the *liveness phase* that follows, no more faults strike and
//! every proof must end.
//!
//! The crate deliberately does not know tokio, the wire format or SP1. Other tests cover the real processes. Like the
//! orchestrator, the driver only carries out the commands of the dispatch state machine, which makes all decisions.

mod cluster;
mod driver;
mod invariant;
mod observe;
mod run;
mod scenario;

#[cfg(test)]
mod tests;

pub use cluster::Trace;
pub use observe::MARKS;
pub use run::{Broken, SimReport, run};
