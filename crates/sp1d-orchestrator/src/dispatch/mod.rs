//! The dispatcher: the tokio task that owns the dispatch machine, and with it the scheduler.
//!
//! It translates what happens into events and carries out the commands. It deliberately decides nothing about workers,
//! tasks and attempts: that is the work of [`sp1d_scheduler::DispatchMachine`]. It also counts tasks and results in the
//! entries of workers and tries.

mod background;
mod claims;
mod dispatcher;
pub(crate) mod input;
mod settings;
pub(crate) mod tasks;
mod waiting;

pub(crate) use dispatcher::Dispatcher;
pub(crate) use settings::scheduler_config;
pub(crate) use waiting::LIMITS as WAITING_LIMITS;
