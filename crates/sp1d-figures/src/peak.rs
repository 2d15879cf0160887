//! The peak memory of processes, from the files of the Linux kernel; see proc(5).

use anyhow::{Context, Result};
use std::fs;

/// Resets the peak memory of a process, so that [`peak_bytes`] returns the peak from now on; see `clear_refs` in
/// proc(5).
///
/// # Errors
/// Fails if the process does not exist or belongs to another user.
pub fn forget_peak(process: u32) -> Result<()> {
    fs::write(format!("/proc/{process}/clear_refs"), "5").context("cannot reset the peak memory")
}

/// Returns the peak of the resident memory of a process in bytes.
///
/// # Errors
/// Fails if the process does not exist.
pub fn peak_bytes(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("cannot read the peak memory")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the status file has no peak memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().context("the peak memory is not a number")?;
    Ok(kilobytes * 1024)
}
