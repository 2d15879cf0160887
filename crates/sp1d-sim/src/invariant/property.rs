//! What an invariant is, and how its violation is reported.

use super::step::SimStep;

/// A property that must hold after every step.
pub(crate) trait Invariant {
    /// Returns the property as a sentence.
    fn name(&self) -> &'static str;

    /// Records a step. Fails if the step breaks the property.
    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String>;

    /// Fails if the property is broken when every proof should have ended. `step` is a tick without commands.
    fn check_end(&mut self, _step: &SimStep<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// A broken invariant and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: String,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(invariant: &str, what: impl Into<String>) -> Self {
        Self { invariant: invariant.to_owned(), what: what.into() }
    }
}

/// Returns the error `what` if `condition` is false.
pub(super) fn ensure(condition: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(what()) }
}
