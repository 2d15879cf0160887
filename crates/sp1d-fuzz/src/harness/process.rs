//! The process that libFuzzer runs for a target.

use super::{corpus::write_corpus, target::FuzzTarget};
use std::{
    env,
    panic::{self, AssertUnwindSafe},
    path::Path,
    process,
    sync::{Mutex, PoisonError},
};

/// Environment variable with a folder. The process then writes the seeds to this folder and ends.
const SEEDS_FOLDER: &str = "SP1D_FUZZ_SEEDS";

/// Text of the last panic.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Prepares the process, before libFuzzer calls the target.
#[expect(clippy::print_stderr, reason = "the process has no other output than that of libFuzzer")]
pub fn start(target: &FuzzTarget) {
    if let Some(folder) = env::var_os(SEEDS_FOLDER) {
        let written = write_corpus(target, Path::new(&folder));
        if let Err(error) = &written {
            eprintln!("error: cannot write the seeds of {} to {}: {error}", target.name, folder.display());
        }
        process::exit(i32::from(written.is_err()));
    }
    // libFuzzer's crate ends the process at any panic. Some panics are expected: the code contains those of SP1.
    panic::set_hook(Box::new(|panic| {
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
}

/// Runs the target on an input of libFuzzer. Aborts the process if a property does not hold. libFuzzer then keeps the
/// input.
#[expect(clippy::print_stderr, reason = "the process has no other output than that of libFuzzer")]
pub fn run(target: &FuzzTarget, input: &[u8]) {
    if panic::catch_unwind(AssertUnwindSafe(|| target.run(input))).is_err() {
        eprintln!("{}", LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner));
        process::abort();
    }
}
