//! What `sp1d` says when it does not do what it is asked.

use std::process::Output;

/// One sentence on stderr with all of `parts`, the exit code, and no trace of a panic.
#[track_caller]
pub(crate) fn check_refused(output: &Output, code: i32, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    for part in parts {
        assert!(errors[0].contains(part), "no {part:?} in {stderr}");
    }
    let panics = stderr.lines().any(|line| line.starts_with("thread '") || line.contains("stack backtrace"));
    assert!(!panics, "{stderr}");
}
