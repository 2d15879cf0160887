//! The limits of an execution's child process, beside the memory limit that SP1 checks itself.
//!
//! SP1 starts the child and has no option for limits, so they are set from outside as soon as the child is found, a few
//! milliseconds after its start. These limits do not work:
//!
//! - `RLIMIT_AS` and `RLIMIT_DATA`: the child maps two terabytes of address space, and maps them again as private
//!   memory for each unconstrained block of the program.
//! - `RLIMIT_NPROC`: it counts all processes of the user.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::{fs, time::Duration};

sp1d_model::limits! {
    /// Largest file that the child of an execution can write. It writes none, except the semaphores of its shared
    /// memory, which have 32 bytes each.
    const MAX_FILE_BYTES: u64 = 1 << 20; Bytes by Program;
    /// Maximum number of files that the child of an execution can open. It opens less than twenty.
    const MAX_OPEN_FILES: u64 = 64; Count by Program;
    /// Maximum number of processes and threads in the control group of an execution. The child has one.
    const MAX_PROCESSES: u64 = 16; Count by Program;
    /// Processor time that the child of an execution has left at any moment. The limit moves while the execution is
    /// supervised. So a child without its supervisor ends after this time, although the cycle limit no longer applies.
    const PROCESSOR_WINDOW: Duration = Duration::from_secs(10 * 60); Time by Program;
}

/// How much the kernel prefers the child when it looks for a process to kill: as if the child used half of the
/// machine's memory in addition. Killed work starts again, while the death of this process ends all proofs.
const OOM_PREFERENCE: i32 = 500;

/// The highest value of `oom_score_adj`.
const MAX_OOM_SCORE: i32 = 1000;

/// The limits of a child process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChildLimits {
    /// Largest file that it can write, in bytes.
    pub(crate) file_bytes: u64,
    /// Number of files that it can open.
    pub(crate) open_files: u64,
    /// Processor time that it has left until the limit moves.
    pub(crate) processor_window: Duration,
    /// How much the kernel prefers to kill it, from -1000 to 1000.
    pub(crate) oom_score: i32,
    /// The limits of its control group, if it gets one.
    pub(crate) group: GroupLimits,
}

/// The limits of a control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupLimits {
    /// Memory in bytes, with the group's part of the shared memory.
    pub(crate) memory_bytes: u64,
    /// Number of processes and threads.
    pub(crate) processes: u64,
}

impl ChildLimits {
    /// Returns the limits of a child whose program may use `memory_bytes`. `own_oom_score` is the value of this
    /// process.
    #[must_use]
    pub(crate) fn new(memory_bytes: u64, own_oom_score: i32) -> Self {
        Self {
            file_bytes: MAX_FILE_BYTES,
            open_files: MAX_OPEN_FILES,
            processor_window: PROCESSOR_WINDOW,
            oom_score: own_oom_score.saturating_add(OOM_PREFERENCE).min(MAX_OOM_SCORE),
            group: GroupLimits { memory_bytes: memory_with_margin(memory_bytes), processes: MAX_PROCESSES },
        }
    }

    /// Sets the limits of the process `child`, except those of its control group. Returns what could not be set, as
    /// text.
    #[must_use]
    pub(crate) fn apply(&self, child: i32) -> Vec<String> {
        // The value 1 also stops dumps that the kernel sends to a program: see `sp1d_machine`'s `core_dumps`.
        let limits = [(Resource::Core, 1), (Resource::Fsize, self.file_bytes), (Resource::Nofile, self.open_files)];
        let mut failed: Vec<String> = limits
            .into_iter()
            .filter_map(|(resource, wanted)| {
                let limit = within(getrlimit(resource), wanted);
                set(child, resource, limit).err().map(|error| format!("{resource:?}: {error}"))
            })
            .collect();
        if let Err(error) = self.renew(child, Duration::ZERO) {
            failed.push(format!("processor time: {error}"));
        }
        if let Err(error) = fs::write(format!("/proc/{child}/oom_score_adj"), self.oom_score.to_string()) {
            failed.push(format!("oom_score_adj: {error}"));
        }
        failed
    }

    /// Moves the limit of the processor time of `child`, which has used `processor_time`.
    ///
    /// # Errors
    /// Fails if the process does not exist, or belongs to another user.
    pub(crate) fn renew(&self, child: i32, processor_time: Duration) -> rustix::io::Result<()> {
        let own = getrlimit(Resource::Cpu);
        let end = within(own, (processor_time + self.processor_window).as_secs());
        // The hard limit stays, because a process without privileges cannot raise it again.
        set(child, Resource::Cpu, Rlimit { current: end.current, maximum: own.maximum })
    }
}

/// Returns the limit for SP1's own check and for the control group of a program that may use `memory_bytes`. They are
/// the last resort: the supervisor ends the execution before, with a better error. A control group also counts page
/// tables.
pub(crate) fn memory_with_margin(memory_bytes: u64) -> u64 {
    const MIN_MARGIN_BYTES: u64 = 512 << 20;
    memory_bytes.saturating_add((memory_bytes / 8).max(MIN_MARGIN_BYTES))
}

/// Returns the limit `wanted`, or the hard limit `own` if that is lower: only root can raise it.
fn within(own: Rlimit, wanted: u64) -> Rlimit {
    let limit = Some(own.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
    Rlimit { current: limit, maximum: limit }
}

fn set(child: i32, resource: Resource, limit: Rlimit) -> rustix::io::Result<()> {
    let child = Pid::from_raw(child).ok_or(rustix::io::Errno::SRCH)?;
    prlimit(Some(child), resource, limit).map(|_| ())
}

/// Returns the `oom_score_adj` of this process. Returns 0, the default, if it cannot be read.
pub(super) fn own_oom_score() -> i32 {
    fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
