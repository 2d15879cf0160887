//! Checks for commands that fail.

use std::process::Output;

/// Checks that the command failed with this exit code and one error line, that this line and its hints contain all
/// `parts`, and that no panic was shown.
#[track_caller]
pub(crate) fn check_refused(output: &Output, code: i32, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    let hints = stderr.lines().filter(|line| line.starts_with("hint: "));
    let said = errors.into_iter().chain(hints).collect::<Vec<_>>().join("\n");
    for part in parts {
        assert!(said.contains(part), "no {part:?} in {stderr}");
    }
    let panics = stderr.lines().any(|line| line.starts_with("thread '") || line.contains("stack backtrace"));
    assert!(!panics, "{stderr}");
}
