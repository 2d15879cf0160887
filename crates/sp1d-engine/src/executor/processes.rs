//! Finds and kills the child processes of SP1's executor.

use rustix::process::{Pid, Signal, kill_process};
use std::{fs, time::Duration};

/// The name of SP1's helper program. The kernel truncates names to 15 bytes.
pub(super) const CHILD_NAME: &str = "sp1-native-runn";

/// The fields of `/proc/PID/stat` that are needed here.
pub(super) struct ProcStat {
    pub(super) id: i32,
    pub(super) parent: i32,
    pub(super) name: String,
    pub(super) processor_time: Duration,
}

pub(super) fn process(id: i32) -> Option<ProcStat> {
    parse_stat(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Parses the fields of `/proc/PID/stat`, see proc(5). The name is in parentheses and may itself contain parentheses.
fn parse_stat(stat: &str) -> Option<ProcStat> {
    /// Fixed in the kernel's interface, independent of the timer frequency.
    const TICKS_PER_SECOND: u64 = 100;
    let (id, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ProcStat {
        id: id.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        name: name.to_owned(),
        processor_time: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
    })
}

/// Returns the executors that are children of this process.
pub(super) fn children() -> Vec<ProcStat> {
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    processes().filter(|process| process.parent == own && process.name == CHILD_NAME).collect()
}

/// Returns all processes that are visible in `/proc`.
pub(super) fn processes() -> impl Iterator<Item = ProcStat> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?))
}

pub(super) fn kill(child: i32) {
    // The id cannot belong to another process yet: the child was not reaped, or was seen a moment ago.
    if let Some(pid) = Pid::from_raw(child)
        && let Err(error) = kill_process(pid, Signal::KILL)
    {
        tracing::debug!(child, %error, "cannot kill the process of an execution");
    }
}
