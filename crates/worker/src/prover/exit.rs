//! What the end of a prover process means.

use crate::engine::AttemptError;
use machine::OomKills;
use protocol::FailureKind;
use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

/// SIGKILL, the one signal that the kernel sends when memory runs out. See signal(7).
const KILL: i32 = 9;

/// How a prover process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// The kernel killed it because memory ran out.
    OutOfMemory,
    /// A signal ended it.
    Signal(i32),
    /// It ended by itself, with this code.
    Code(i32),
    /// The worker ended it, because a stage of a cancelled attempt would have run on.
    Cancelled,
}

impl Exit {
    /// `kills` are the kernel's counters before and after the end, `killed_here` says that this worker sent the signal.
    pub(super) fn of(status: ExitStatus, kills: Option<(OomKills, OomKills)>, killed_here: bool) -> Self {
        match (status.signal(), status.code()) {
            (Some(_), _) if killed_here => Self::Cancelled,
            (Some(KILL), _) if kills.is_some_and(|(before, after)| after.since(before) > 0) => Self::OutOfMemory,
            (Some(signal), _) => Self::Signal(signal),
            (None, code) => Self::Code(code.unwrap_or_default()),
        }
    }

    /// The failure of the attempts that were inside. `peak` is the most memory that the process was seen to use.
    pub(super) fn failure(self, peak: u64) -> AttemptError {
        let kind = match self {
            Self::OutOfMemory => FailureKind::OutOfMemory,
            Self::Signal(_) | Self::Code(_) | Self::Cancelled => FailureKind::Killed,
        };
        let gigabytes = peak as f64 / 1e9;
        let text = match self {
            Self::OutOfMemory => {
                format!(
                    "the kernel killed the prover because memory ran out; the prover was seen to use {gigabytes:.1} GB"
                )
            }
            Self::Signal(signal) => {
                format!("the prover was killed by signal {signal}; it was seen to use {gigabytes:.1} GB")
            }
            Self::Code(code) => format!("the prover ended with exit code {code}; its log has the reason"),
            Self::Cancelled => "the prover was restarted to end a cancelled attempt".to_owned(),
        };
        AttemptError { kind, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kills(group: u64) -> OomKills {
        OomKills { group: Some(group), machine: None }
    }

    #[track_caller]
    fn check(status: i32, kills: Option<(OomKills, OomKills)>, killed_here: bool, expected: Exit, kind: FailureKind) {
        let exit = Exit::of(ExitStatus::from_raw(status), kills, killed_here);
        assert_eq!((exit, exit.failure(0).kind), (expected, kind));
    }

    #[test]
    fn the_end_of_a_prover_is_told_apart() {
        let (none, one) = (Some((kills(3), kills(3))), Some((kills(3), kills(4))));
        // The low bits of a status are the signal, the next ones the code. See wait(2).
        check(9, one, false, Exit::OutOfMemory, FailureKind::OutOfMemory);
        check(9, none, false, Exit::Signal(9), FailureKind::Killed);
        check(9, None, false, Exit::Signal(9), FailureKind::Killed);
        check(9, one, true, Exit::Cancelled, FailureKind::Killed);
        check(11, one, false, Exit::Signal(11), FailureKind::Killed);
        check(101 << 8, none, false, Exit::Code(101), FailureKind::Killed);
    }
}
