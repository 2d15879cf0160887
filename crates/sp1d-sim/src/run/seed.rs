//! Runs the world of one seed.

use super::{
    report::{Broken, SimReport},
    world::World,
};
use crate::{cluster::Trace, driver::Sabotage};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs the world of `seed`.
///
/// # Errors
/// If an invariant broke. A panic in the scheduler or in the simulation counts as a broken invariant.
pub fn run(seed: u64, trace: Option<Trace>) -> Result<SimReport, Broken> {
    run_with(seed, trace, Sabotage::default())
}

pub(crate) fn run_with(seed: u64, trace: Option<Trace>, sabotage: Sabotage) -> Result<SimReport, Broken> {
    match catch_unwind(AssertUnwindSafe(|| World::new(seed, trace, sabotage).run())) {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(violation)) => Err(Broken { seed, invariant: violation.invariant, what: violation.what }),
        Err(panic) => Err(Broken { seed, invariant: "no code panics".to_owned(), what: text_of(&*panic) }),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").to_owned()
}
