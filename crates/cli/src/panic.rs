//! Panics, as users see them: SP1 panics on what it cannot decode, and what contains such a panic says in its own words
//! what is wrong.

use anyhow::{Result, anyhow};
use std::{
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook},
    sync::{Mutex, PoisonError},
};

static LAST: Mutex<String> = Mutex::new(String::new());

/// Sends panics to the log, at `debug`, instead of printing them.
pub(crate) fn log_instead_of_printing() {
    set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let text = panic.to_string().replace('\n', " ");
        tracing::debug!(target: "panic", backtrace = %std::backtrace::Backtrace::capture(), "{text}");
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }));
}

/// Runs `work`; a panic that nobody contained becomes an error.
pub(crate) fn contain(work: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        Err(anyhow!("internal error, please report it: {last}"))
    })
}
