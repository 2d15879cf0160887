//! The memory use and the children of other processes, as the kernel reports them.

use std::fs;

/// Returns the bytes that a process holds: its resident bytes, minus the bytes that it has freed and the kernel can
/// reclaim. `None` if the process is gone.
///
/// This takes milliseconds for a process with many gigabytes.
#[must_use]
pub fn live_bytes(process: u32) -> Option<u64> {
    Some(resident_bytes(process)?.saturating_sub(lazily_freed_bytes(process)))
}

/// Returns the processes that `process` has started and that have not ended. Empty if `process` is gone. See proc(5),
/// `/proc/PID/task/TID/children`.
#[must_use]
pub fn child_processes(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let lists: Vec<String> = threads.flatten().map(of_thread).collect();
    lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|id| id.parse().ok()).collect()
}

/// Returns the bytes that a process has freed and the kernel can reclaim at any time. See proc(5), smaps. Returns 0 if
/// the kernel does not allow reading this value, for example for a process of another user. The freed bytes then count
/// as held.
#[must_use]
pub fn lazily_freed_bytes(process: u32) -> u64 {
    kilobytes(&format!("/proc/{process}/smaps_rollup"), "LazyFree:").unwrap_or(0)
}

/// Returns the resident bytes of a process, or `None` if the process has ended. See proc(5), status.
#[must_use]
pub fn resident_bytes(process: u32) -> Option<u64> {
    kilobytes(&format!("/proc/{process}/status"), "VmRSS:")
}

/// Returns the bytes in the line `NAME NUMBER kB` of a file of the kernel.
fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, id};

    #[test]
    fn a_process_uses_memory_until_it_has_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = child.id();
        assert!(child_processes(id()).contains(&process));
        assert!(live_bytes(process).unwrap() > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!child_processes(id()).contains(&process));
        assert_eq!(live_bytes(process), None);
    }
}
