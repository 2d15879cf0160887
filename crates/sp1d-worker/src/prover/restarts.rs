//! Decides when a prover process is started again after it has ended.

use std::time::Duration;

sp1d_model::limits! {
    /// Number of failed loads in a row after which the worker gives up.
    pub(super) const MAX_LOAD_FAILURES: u32 = 5; Count by Prover;
}

/// Pause before the restart of a process that ended while it was loading. It doubles with each failure in a row.
const LOAD_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Pause before the restart of a process in which no attempt succeeded after the prover was loaded. It doubles with
/// each such process in a row. Without it, a prover that crashes in each attempt would load gigabytes in a loop.
const CRASH_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Longest pause before the restart of such a process. A task, and not the prover, may be the cause of the crashes, so
/// the prover is never given up for them.
const MAX_CRASH_RETRY_DELAY: Duration = Duration::from_secs(60);

/// Pause before the next try to use a GPU that cannot be used. It doubles with each failure in a row. A program that
/// has just been stopped keeps memory of the GPU for some seconds.
const GPU_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Longest pause before the next try to use a GPU. Until then, a GPU that works again does nothing.
const MAX_GPU_RETRY_DELAY: Duration = Duration::from_secs(300);

/// What a prover process had done when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProcessProgress {
    /// The prover was not loaded yet.
    Loading,
    /// The prover was loaded, but no attempt succeeded.
    Loaded,
    /// An attempt succeeded, or the worker killed the process because of a cancelled attempt.
    Useful,
}

/// The failures in a row of a prover process.
#[derive(Debug, Default)]
pub(super) struct ProverRestarts {
    /// Number of runs that ended while the prover was loading.
    load_failures: u32,
    /// Number of runs that ended after the prover was loaded and before an attempt succeeded.
    crashes: u32,
    /// Number of runs in which the GPU could not be used.
    gpu_failures: u32,
}

impl ProverRestarts {
    /// The process ended. Returns the pause before the next start; `None` if the prover is given up.
    pub(super) fn on_end(&mut self, progress: ProcessProgress) -> Option<Duration> {
        match progress {
            ProcessProgress::Loading => {
                self.load_failures += 1;
                (self.load_failures < MAX_LOAD_FAILURES).then(|| LOAD_RETRY_DELAY * 2_u32.pow(self.load_failures - 1))
            }
            ProcessProgress::Loaded => {
                let pause = CRASH_RETRY_DELAY.saturating_mul(2_u32.saturating_pow(self.crashes));
                *self = Self { crashes: self.crashes.saturating_add(1), ..Self::default() };
                Some(pause.min(MAX_CRASH_RETRY_DELAY))
            }
            ProcessProgress::Useful => {
                *self = Self::default();
                Some(Duration::ZERO)
            }
        }
    }

    /// The prover could not be loaded because its GPU cannot be used now. Returns the pause before the next start. The
    /// prover is never given up for this: an administrator may free or reset the GPU at any time.
    pub(super) fn on_gpu_failure(&mut self) -> Duration {
        let pause = GPU_RETRY_DELAY.saturating_mul(2_u32.saturating_pow(self.gpu_failures));
        self.gpu_failures = self.gpu_failures.saturating_add(1);
        self.load_failures = 0;
        pause.min(MAX_GPU_RETRY_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum End {
        After(ProcessProgress),
        GpuFailure,
    }
    use End::GpuFailure;

    const LOADING: End = End::After(ProcessProgress::Loading);
    const LOADED: End = End::After(ProcessProgress::Loaded);
    const USEFUL: End = End::After(ProcessProgress::Useful);

    /// `expected` are the pauses in seconds after each end; `None` if the prover is given up.
    #[track_caller]
    fn check(ends: &[End], expected: &[Option<u64>]) {
        let mut restarts = ProverRestarts::default();
        let pause = |end: &End| match end {
            End::After(progress) => restarts.on_end(*progress),
            GpuFailure => Some(restarts.on_gpu_failure()),
        };
        let pauses: Vec<_> = ends.iter().map(pause).map(|pause| pause.map(|pause| pause.as_secs())).collect();
        assert_eq!(pauses, expected);
    }

    #[test]
    fn a_prover_that_never_loads_is_given_up() {
        check(&[LOADING; 5], &[Some(1), Some(2), Some(4), Some(8), None]);
        check(&[LOADING, LOADING, USEFUL, LOADING], &[Some(1), Some(2), Some(0), Some(1)]);
    }

    #[test]
    fn a_prover_that_crashes_before_an_attempt_succeeds_is_loaded_again_after_growing_pauses() {
        check(&[LOADED; 8], &[1, 2, 4, 8, 16, 32, 60, 60].map(Some));
        check(&[LOADED, LOADED, USEFUL, LOADED], &[Some(1), Some(2), Some(0), Some(1)]);
        check(&[LOADING, LOADED, LOADING, LOADED], &[Some(1), Some(1), Some(1), Some(2)]);
        let mut restarts = ProverRestarts { crashes: u32::MAX, ..ProverRestarts::default() };
        assert_eq!(restarts.on_end(ProcessProgress::Loaded), Some(MAX_CRASH_RETRY_DELAY));
    }

    #[test]
    fn a_gpu_that_cannot_be_used_is_tried_again_after_growing_pauses() {
        let pauses = [5, 10, 20, 40, 80, 160, 300, 300].map(Some);
        check(&[GpuFailure; 8], &pauses);
        check(&[GpuFailure, GpuFailure, USEFUL, GpuFailure], &[Some(5), Some(10), Some(0), Some(5)]);
        let mut restarts = ProverRestarts { gpu_failures: u32::MAX, ..ProverRestarts::default() };
        assert_eq!(restarts.on_gpu_failure(), MAX_GPU_RETRY_DELAY);
    }

    #[test]
    fn only_failed_loads_in_a_row_count() {
        check(
            &[LOADING, LOADING, LOADING, LOADING, GpuFailure, LOADING],
            &[Some(1), Some(2), Some(4), Some(8), Some(5), Some(1)],
        );
    }
}
