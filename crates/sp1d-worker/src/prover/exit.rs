//! Classifies how a prover process ended.

use crate::engine::AttemptError;
use sp1d_machine::OomKills;
use sp1d_protocol::FailureKind;
use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

/// SIGKILL, the only signal that the kernel sends when memory runs out. See signal(7).
const SIGKILL: i32 = 9;

/// SIGABRT: the process ended itself, for example after a second panic.
const SIGABRT: i32 = 6;

/// How a prover process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProverExit {
    /// The kernel killed the process because memory ran out.
    OutOfMemory,
    /// This signal ended the process.
    Signal(i32),
    /// The process exited with this code.
    Code(i32),
    /// The worker killed the process, because a stage of a cancelled attempt was still running.
    Cancelled,
}

impl ProverExit {
    /// Classifies the end of a process. `kills` are the kernel's counters before and after the end. `killed_here` is
    /// true if this worker sent the signal.
    pub(super) fn of(status: ExitStatus, kills: Option<(OomKills, OomKills)>, killed_here: bool) -> Self {
        match (status.signal(), status.code()) {
            (Some(_), _) if killed_here => Self::Cancelled,
            (Some(SIGKILL), _) if kills.is_some_and(|(before, after)| after.since(before) > 0) => Self::OutOfMemory,
            (Some(signal), _) => Self::Signal(signal),
            (None, code) => Self::Code(code.unwrap_or_default()),
        }
    }

    /// Returns true if the process of a prover on a GPU aborted. After an error that CUDA keeps, freeing what is on the
    /// GPU fails too, and a second panic aborts.
    pub(super) const fn is_gpu_abort(self, gpu: Option<&str>) -> bool {
        matches!((self, gpu), (Self::Signal(SIGABRT), Some(_)))
    }

    /// Returns the failure of the attempts that were running in the process. `peak` is the highest measured memory use
    /// of the process in bytes, or 0 if unknown. `gpu` is the GPU that the process computed on.
    pub(super) fn failure(self, peak: u64, gpu: Option<&str>) -> AttemptError {
        let kind = match self {
            Self::OutOfMemory if gpu.is_none() => FailureKind::OutOfMemory,
            // The cut bounds the shards of a GPU. The memory of its machine says nothing about other workers.
            Self::OutOfMemory | Self::Signal(_) | Self::Code(_) | Self::Cancelled => FailureKind::Killed,
        };
        let used = match peak {
            0 => String::new(),
            peak => format!("; its highest measured memory use was {:.1} GB", peak as f64 / 1e9),
        };
        let text = match (self, gpu) {
            (Self::Signal(SIGABRT), Some(gpu)) => format!(
                "the prover aborted (signal {SIGABRT}), probably after an error of {gpu}\n\
                 hint: the worker's log has CUDA's error, and `dmesg` the Xid if the driver reported one"
            ),
            (exit, _) => exit.text(&used),
        };
        AttemptError { kind, text }
    }

    fn text(self, used: &str) -> String {
        match self {
            Self::OutOfMemory => format!("the kernel killed the prover because memory ran out{used}"),
            Self::Signal(signal) => format!("the prover was killed by signal {signal}{used}"),
            Self::Code(code) => format!("the prover ended with exit code {code}; its log has the reason"),
            Self::Cancelled => "the prover was restarted to end a cancelled attempt".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kills(group: u64) -> OomKills {
        OomKills { group: Some(group), machine: None }
    }

    #[track_caller]
    fn check(
        status: i32,
        kills: Option<(OomKills, OomKills)>,
        killed_here: bool,
        expected: ProverExit,
        kind: FailureKind,
    ) {
        let exit = ProverExit::of(ExitStatus::from_raw(status), kills, killed_here);
        assert_eq!((exit, exit.failure(0, None).kind), (expected, kind));
    }

    #[test]
    fn causes_of_a_prover_exit_are_distinguished() {
        let (none, one) = (Some((kills(3), kills(3))), Some((kills(3), kills(4))));
        // The low 7 bits of a status are the signal. The exit code starts at bit 8. See wait(2).
        check(9, one, false, ProverExit::OutOfMemory, FailureKind::OutOfMemory);
        check(9, none, false, ProverExit::Signal(9), FailureKind::Killed);
        check(9, None, false, ProverExit::Signal(9), FailureKind::Killed);
        check(9, one, true, ProverExit::Cancelled, FailureKind::Killed);
        check(11, one, false, ProverExit::Signal(11), FailureKind::Killed);
        check(101 << 8, none, false, ProverExit::Code(101), FailureKind::Killed);
    }

    #[test]
    fn the_memory_of_a_machine_with_gpus_does_not_exclude_smaller_workers() {
        assert_eq!(ProverExit::OutOfMemory.failure(0, Some("GPU 0 (L4)")).kind, FailureKind::Killed);
    }

    #[test]
    fn an_abort_of_a_gpu_prover_names_the_gpu() {
        let text = |signal, gpu| ProverExit::Signal(signal).failure(0, gpu).text;
        let aborted = text(SIGABRT, Some("GPU 1 (H100)"));
        assert!(aborted.starts_with("the prover aborted (signal 6), probably after an error of GPU 1 (H100)\nhint: "));
        assert!(ProverExit::Signal(SIGABRT).is_gpu_abort(Some("GPU 1 (H100)")));
        assert_eq!(text(SIGABRT, None), "the prover was killed by signal 6");
        assert!(!ProverExit::Signal(SIGABRT).is_gpu_abort(None));
        assert!(!ProverExit::Signal(SIGKILL).is_gpu_abort(Some("GPU 1 (H100)")));
        assert_eq!(text(9, Some("GPU 1 (H100)")), "the prover was killed by signal 9");
    }
}
