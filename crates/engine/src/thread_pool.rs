//! The process's pool of proving threads.

/// Starts the pool that all proving shares, with `threads` threads. To be called before anything of SP1: whoever is first decides, and
/// SP1's own pool lets a panic of a detached task end the process.
///
/// # Errors
/// When the pool was started before, or the system refuses threads.
pub fn start_thread_pool(threads: usize) -> Result<(), rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("prove-{number}"))
        .panic_handler(|_| tracing::error!("a detached proving task panicked"))
        .build_global()
}
