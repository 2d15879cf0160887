//! What an execution's child process uses at a moment. All values come from `/proc`.

use std::fs;

sp1d_model::limits! {
    /// Longest line that a program may write to its stdout or stderr. SP1's executor holds a line in the memory of this
    /// process until it is complete, so a program that writes a longer one is ended.
    pub(super) const MAX_OUTPUT_LINE_BYTES: u64 = 16 << 20; Bytes by Program;
    /// Maximum number of bytes that an execution may output, beside twice the length of its input: the lines of the
    /// program, its public values, and the values that it read. This process holds the public values in memory.
    pub(super) const MAX_OUTPUT_BYTES: u64 = 1 << 30; Bytes by Program;
}

/// The file descriptor to which SP1's helper program writes the output of the program.
const OUTPUT: u64 = 2;

/// Returns the length of the line that the child is writing if it is longer than allowed.
pub(super) fn too_long_line(child: i32) -> Option<u64> {
    pending_write(child, OUTPUT).filter(|bytes| *bytes > MAX_OUTPUT_LINE_BYTES)
}

/// Returns the length of the write to `descriptor` in which the process `child` waits. The helper program writes a line
/// with one call, which waits until this process has read most of it.
#[must_use]
pub(crate) fn pending_write(child: i32, descriptor: u64) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{child}/syscall")).ok()?;
    parse_write(&text).filter(|(found, _)| *found == descriptor).map(|(_, bytes)| bytes)
}

/// Parses the content of `/proc/PID/syscall`: the number of the system call, and its arguments. Returns the descriptor
/// and the length of a write, and `None` for other calls and for a running process.
#[must_use]
pub(crate) fn parse_write(text: &str) -> Option<(u64, u64)> {
    /// The number of `write` in the kernel's interface.
    const WRITE: &str = if cfg!(target_arch = "x86_64") { "1" } else { "64" };
    let mut words = text.split_ascii_whitespace();
    let call = words.next()?;
    let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (descriptor, _address, bytes) = (argument()?, argument()?, argument()?);
    (call == WRITE).then_some((descriptor, bytes))
}

/// Returns true if the child of an execution with `input_bytes` of input has written more than it may.
pub(super) fn has_too_much_output(child: i32, input_bytes: u64) -> bool {
    let allowed = input_bytes.saturating_mul(2).saturating_add(MAX_OUTPUT_BYTES);
    written_bytes(child).is_some_and(|written| written > allowed)
}

/// Returns the number of bytes that the process `child` has written to files and pipes.
#[must_use]
pub(crate) fn written_bytes(child: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{child}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("wchar: "))?.trim().parse().ok()
}

/// Returns the memory that the process `child` uses, with its part of the shared memory.
#[must_use]
pub(crate) fn resident_memory(child: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{child}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}
