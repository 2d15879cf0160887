//! Which part failed when SP1's executor reports an error without a type.
//!
//! SP1 gives all these errors one variant with a text, so the text is all that tells them apart. The texts are those of
//! the SP1 release that this crate is built with.

/// The part that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorOrigin {
    /// The executor's process crashed in the code of the program, or memory was missing.
    Process,
    /// Another process or the system ended the executor's process.
    Outside,
    /// The executor's process could not be started, or took no input. This machine is at fault.
    Start,
    /// A part of this process failed. It may only have noticed the failure of another part.
    Unknown,
}

/// Signals that end a process from outside: SIGHUP, SIGINT, SIGQUIT, SIGKILL and SIGTERM come from other processes.
/// SIGXCPU comes from a limit that this process moves, unless it is stopped itself.
const ENDING_SIGNALS: [i32; 6] = [1, 2, 3, 9, 15, 24];

impl ErrorOrigin {
    /// Returns the origin of the error with this text.
    pub(crate) fn of(text: &str) -> Self {
        if text.starts_with("failed to spawn child process") || text.starts_with("failed sending input to child") {
            return Self::Start;
        }
        if text.starts_with("Child native executor crashed") {
            return Self::Process;
        }
        if let Some(end) = text.strip_prefix("Child native executor terminated abnormally") {
            let is_ended = ENDING_SIGNALS.iter().any(|signal| end.ends_with(&format!("signal: Some({signal})")));
            return if is_ended { Self::Outside } else { Self::Process };
        }
        Self::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: ErrorOrigin) {
        assert_eq!(ErrorOrigin::of(text), expected, "{text}");
    }

    #[test]
    fn failures_of_this_machine_are_not_those_of_the_program() {
        check("failed to spawn child process: No such file or directory (os error 2)", ErrorOrigin::Start);
        check("failed sending input to child: Broken pipe (os error 32)", ErrorOrigin::Start);
        check("Child native executor terminated abnormally, code: None, signal: Some(15)", ErrorOrigin::Outside);
        check("Child native executor terminated abnormally, code: None, signal: Some(24)", ErrorOrigin::Outside);
        check("error in create_core_proving_task: no room", ErrorOrigin::Unknown);
    }

    #[test]
    fn a_crash_may_be_that_of_the_program() {
        check("Child native executor terminated abnormally, code: None, signal: Some(7)", ErrorOrigin::Process);
        check("Child native executor terminated abnormally, code: Some(101), signal: None", ErrorOrigin::Process);
        check("Child native executor terminated abnormally, code: None, signal: Some(11)", ErrorOrigin::Process);
        check("Child native executor crashed, details: TraceCrash { signal: 8 }", ErrorOrigin::Process);
    }
}
