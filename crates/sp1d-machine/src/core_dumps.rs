//! Core dumps, which contain the whole memory of a process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit for the size of a core dump, in bytes. The kernel writes no file, because the head of a dump is larger. A
/// limit of 0 would do the same, but the kernel ignores it when it sends dumps to a program, as most distributions are
/// set up. The value 1 stops these dumps too. See `coredump_pipe` in `fs/coredump.c` of the kernel.
const CORE_LIMIT_BYTES: u64 = 1;

/// Keeps the kernel from dumping the memory of this process when it crashes. Child processes inherit this.
///
/// The process stays readable for other processes of the same user: a worker must be able to read how much memory its
/// provers use (`smaps_rollup`).
pub fn disable_core_dumps() {
    let hard = getrlimit(Resource::Core).maximum.unwrap_or(CORE_LIMIT_BYTES);
    let limit = Some(hard.min(CORE_LIMIT_BYTES));
    // Lowering a limit does not fail.
    let _ = setrlimit(Resource::Core, Rlimit { current: limit, maximum: limit });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
    };

    #[test]
    fn a_process_and_its_children_leave_no_core_dump() {
        disable_core_dumps();
        let Rlimit { current, maximum } = getrlimit(Resource::Core);
        assert_eq!(current, maximum);
        assert!(current.is_some_and(|bytes| bytes <= CORE_LIMIT_BYTES), "{current:?}");
        let limits = Command::new("cat").arg("/proc/self/limits").output().unwrap();
        let limits = String::from_utf8(limits.stdout).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert!(!line.contains("unlimited"), "{line}");
        let crashed = Command::new("sh").args(["-c", "kill -ABRT $$"]).stderr(Stdio::null()).status().unwrap();
        assert!(crashed.signal().is_some() && !crashed.core_dumped(), "{crashed}");
        disable_core_dumps();
        assert_eq!(getrlimit(Resource::Core).current, current);
    }
}
