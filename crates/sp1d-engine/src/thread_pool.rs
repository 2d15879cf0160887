//! The thread pool of the process for proving.

/// Starts the global thread pool that all proving in this process shares, with `threads` threads. `niceness` is added
/// to the nice value of each of these threads, so that other threads of the process come first.
///
/// Call this before anything in SP1: the first call in a process decides. In the pool that SP1 would start, a panic in
/// a detached rayon task ends the process.
///
/// # Errors
/// Fails if the pool was started before, or if the operating system refuses to start threads.
pub fn start_thread_pool(threads: usize, niceness: i32) -> Result<(), rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("prove-{number}"))
        .start_handler(move |_| be_nice(niceness))
        // If an attempt waits for the rayon task, the attempt fails and reports the panic. Rayon tasks that generate
        // traces also panic after their attempt was cancelled, because they unwrap the sending of their result
        // (sp1-hypercube, prover/trace.rs).
        .panic_handler(|_| {
            tracing::warn!("detached rayon task of the prover panicked, its attempt fails or was cancelled")
        })
        .build_global()
}

/// Adds `niceness` to the nice value of the calling thread. If the operating system refuses, the value stays unchanged.
pub(crate) fn be_nice(niceness: i32) {
    if niceness != 0
        && let Err(error) = rustix::process::getpriority_process(None)
            .and_then(|present| rustix::process::setpriority_process(None, (present + niceness).min(19)))
    {
        tracing::debug!(%error, "cannot lower the priority of a thread");
    }
}
