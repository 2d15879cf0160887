//! Processor time of this process and of its threads. The orchestrator under measurement runs in this process. The
//! workers are other processes.

use rustix::time::{ClockId, clock_gettime};

/// Returns the processor time of all threads of this process, in seconds.
pub(crate) fn process_seconds() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

/// Returns the processor time of this thread, in seconds.
pub(crate) fn thread_seconds() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
