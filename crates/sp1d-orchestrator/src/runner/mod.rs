//! The interface to the code that knows SP1.
//!
//! - `checks`: the checks of one proof.
//! - `failure`: why a proof failed.
//! - `interface`: the traits of a runner. A *runner* starts and supervises SP1's controller; only SP1 has a controller.
//! - `request`: what a caller asks for, and what the caller gets.
//! - `task`: a task as the runner submits it.
//!
//! This folder does not know how tasks reach workers.

pub(crate) mod checks;
pub(crate) mod failure;
pub(crate) mod interface;
pub(crate) mod request;
pub(crate) mod task;
