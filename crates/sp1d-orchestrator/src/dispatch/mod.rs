//! The dispatcher: the tokio task that owns the dispatch state machine, and with it the scheduler.
//!
//! It translates what happens into events and carries out the commands. It leaves the choice of workers and results to
//! [`sp1d_scheduler::DispatchState`]. It decides itself what to do when this machine, a check or a connection fails.
//! These cases matter most, and ARCHITECTURE.md lists all:
//!
//! - An output counts as wrong if its check panics, takes too long, or waits behind one that does (`background`).
//! - A task and its try fail if an accepted result cannot be stored. A marker and its try fail if accepted deferred
//!   events cannot be stored.
//! - A session that accepts no more messages counts as ended.
//!
//! It also counts tasks and results in the entries of workers and tries.

mod background;
mod claims;
mod dispatcher;
mod drain_callers;
mod open_tasks;
mod scheduler_config;

pub(crate) use dispatcher::Dispatcher;
pub(crate) use open_tasks::LIMITS as OPEN_TASK_LIMITS;
pub(crate) use scheduler_config::scheduler_config;
