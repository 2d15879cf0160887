//! Whether the length of a program's lines is limited. The limit needs `/proc/PID/syscall` of the child of an execution
//! (see `child_use`), which not every system lets this process read.

use sp1d_model::hint;
use std::{fs, io, sync::Once};

/// The lines that programs write are not limited, for this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a program can fill the memory with a line that does not end, because {0}\n\
     hint: set the kernel parameter `kernel.yama.ptrace_scope` to 0 or 1, or run only programs that you trust"
)]
pub struct NoLineLimit(pub String);

impl NoLineLimit {
    /// Logs a warning, at most once in this process.
    fn warn(&self) {
        static WARNED: Once = Once::new();
        WARNED.call_once(|| tracing::warn!("{}", hint::one_line(&self.to_string())));
    }
}

/// Checks whether this process can limit the lines of programs. Starts no child, so the child of an execution is
/// checked again.
///
/// # Errors
/// Fails if the lines are certainly not limited. The message says what to do.
pub fn check_line_limit() -> Result<(), NoLineLimit> {
    // A process may always read its own file.
    if let Err(error) = fs::read_to_string("/proc/self/syscall") {
        return Err(NoLineLimit(format!("the system does not show the system calls of processes: {error}")));
    }
    // Systems without Yama do not have the file.
    let Ok(scope) = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope") else { return Ok(()) };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if hides_children(&scope, &status) {
        return Err(NoLineLimit(format!("the kernel parameter `kernel.yama.ptrace_scope` is {}", scope.trim())));
    }
    Ok(())
}

/// Logs a warning if [`check_line_limit`] fails. This process warns at most once.
pub fn warn_without_line_limit() {
    if let Err(error) = check_line_limit() {
        error.warn();
    }
}

/// Logs a warning if this process may not read the system calls of its child `child`. This process warns at most once.
pub(super) fn warn_if_hidden(child: i32) {
    match fs::read_to_string(format!("/proc/{child}/syscall")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            NoLineLimit(format!("the system does not show the system calls of its process: {error}")).warn();
        }
        // If the child has ended, the file does not exist.
        Ok(_) | Err(_) => {}
    }
}

/// Returns true if Yama hides the system calls of children from this process. `scope` is the content of its
/// `ptrace_scope`, and `status` that of `/proc/self/status`.
#[must_use]
pub(crate) fn hides_children(scope: &str, status: &str) -> bool {
    /// The bit of `CAP_SYS_PTRACE`.
    const SYS_PTRACE: u64 = 1 << 19;
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    match scope.trim() {
        "2" => capabilities & SYS_PTRACE == 0,
        "3" => true,
        _ => false,
    }
}
