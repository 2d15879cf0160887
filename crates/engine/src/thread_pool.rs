//! The process's pool of proving threads.

/// Starts the pool that all proving shares, with `threads` threads. To be called before anything of SP1: whoever is
/// first decides, and SP1's own pool lets a panic of a detached task end the process. The threads are `niceness` less
/// urgent than others of the process, as `nice` counts.
///
/// # Errors
/// When the pool was started before, or the system refuses threads.
pub fn start_thread_pool(threads: usize, niceness: i32) -> Result<(), rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("prove-{number}"))
        .start_handler(move |_| be_nice(niceness))
        // An attempt that waits for the task fails, and says so. The tasks that make traces also panic when their
        // attempt was cancelled: they unwrap the sending of their result (sp1-hypercube, prover/trace.rs).
        .panic_handler(|_| tracing::warn!("a detached proving task panicked: its attempt fails, or was cancelled"))
        .build_global()
}

/// Makes the calling thread `niceness` less urgent; one that may not stays as it is.
pub(crate) fn be_nice(niceness: i32) {
    if niceness != 0
        && let Err(error) = rustix::process::getpriority_process(None)
            .and_then(|present| rustix::process::setpriority_process(None, (present + niceness).min(19)))
    {
        tracing::debug!(%error, "lower a thread's priority");
    }
}
