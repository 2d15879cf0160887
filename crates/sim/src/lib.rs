//! The real scheduler in a simulated world.
//!
//! ```text
//!                    ┌──────────────────────── World ────────────────────────┐
//!   seed ─► Setting  │  Driver ──Event──► Scheduler ──Command──► Driver       │
//!           Plan     │    ▲   each step: Invariants, Coverage, Digest   │     │
//!           Faults   │    └──Said── Link ◄── Machine ◄── Link ◄──Told───┘     │
//!                    └────────────────────────────────────────────────────────┘
//! ```
//!
//! One seed determines everything: the number of workers and tasks, the speed of each machine, and what breaks when.
//! There is no clock, no thread and no unordered map, so a failing seed fails again in the same way. In the *safety
//! phase* faults strike, and no invariant may break. In the *liveness phase* that follows, no more faults strike and
//! every proof must end.
//!
//! The crate deliberately does not know tokio, the wire format or SP1. Other tests cover the real processes.
//! `driver.rs` carries out commands like the orchestrator's `core.rs`, in simplified form. Changes to `core.rs` must be
//! repeated here.

mod coverage;
mod dice;
mod digest;
mod driver;
mod fault;
mod happening;
mod invariant;
mod link;
mod machine;
mod net;
mod plan;
mod queue;
mod run;
mod setting;
mod strike;
mod world;

#[cfg(test)]
mod tests;

pub use coverage::MARKS;
pub use run::{Broken, Report, Trace, run};
