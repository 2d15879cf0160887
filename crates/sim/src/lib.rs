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
//! One seed decides everything: how many workers and tasks there are, how fast each machine is, what breaks and when.
//! There is no clock, no thread and no unordered map, so a seed that fails fails again. In the *safety phase* faults
//! strike, and nothing wrong may ever happen; in the *liveness phase* that follows nothing strikes any more, and every
//! proof must end.
//!
//! The crate deliberately knows nothing of tokio, of the network's encoding and of SP1: tests of the real processes are
//! elsewhere. What `driver.rs` does with commands is what the orchestrator's `core.rs` does, in small; a change there
//! is to be followed here.

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
