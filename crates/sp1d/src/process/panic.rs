//! Panic handling. SP1 panics on input that it cannot decode. The code that catches such a panic reports the problem in
//! its own words, so the panic message itself only goes to the debug log.

use anyhow::{Result, anyhow};
use std::{
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook},
    sync::{Mutex, PoisonError},
};

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Sends panics to the log, at `debug`, instead of printing them.
pub(crate) fn log_instead_of_printing() {
    set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let text = panic.to_string().replace('\n', " ");
        tracing::debug!(target: "panic", backtrace = %std::backtrace::Backtrace::capture(), "{text}");
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }));
}

/// Runs `work` and turns an uncaught panic into an error.
pub(crate) fn contain(work: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let last = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        Err(anyhow!("internal error: {last}\nhint: report it at {}/issues", env!("CARGO_PKG_REPOSITORY")))
    })
}
