//! Reads the memory that this process can use, and the kernel's out-of-memory kills.

use crate::{
    cgroup,
    memory::{Memory, OomKills},
};
use std::{fs::File, io::Read, path::Path};

/// Maximum number of bytes that are read from one file of the kernel. Most files have less than 10 kB; a long list of
/// mounts has about 100 kB.
const MAX_FILE_BYTES: u64 = 1 << 20;

impl Memory {
    /// Reads the machine's memory and the limits of this process's control groups. Returns `None` if the kernel does
    /// not report the machine's memory.
    #[must_use]
    pub fn now() -> Option<Self> {
        Self::at(&read_file)
    }

    fn at(read: cgroup::ReadFile<'_>) -> Option<Self> {
        let machine = parse_meminfo(&read(Path::new("/proc/meminfo"))?)?;
        Some(match cgroup::memory(read) {
            Some(groups) => machine.smaller(groups),
            None => machine,
        })
    }

    /// Reads how often the kernel has killed a process because memory ran out. Returns `None` if the kernel has no such
    /// counter.
    #[must_use]
    pub fn oom_kills() -> Option<OomKills> {
        oom_kills_at(&read_file)
    }
}

fn oom_kills_at(read: cgroup::ReadFile<'_>) -> Option<OomKills> {
    let machine = read(Path::new("/proc/vmstat")).and_then(|text| cgroup::field(&text, "oom_kill"));
    let kills = OomKills { group: cgroup::oom_kills(read), machine };
    (kills.group.is_some() || kills.machine.is_some()).then_some(kills)
}

/// Reads a file of the kernel. Lines that do not fit into `MAX_FILE_BYTES` are left out.
fn read_file(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 == MAX_FILE_BYTES {
        // Drop the last, incomplete line: a number in it could be cut.
        let end = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        bytes.truncate(end);
    }
    // A mount point may not be valid UTF-8. It must not make the other mounts unreadable.
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse_meminfo(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    // The kernel keeps lazily freed memory (MADV_FREE) on its lists of file pages, and so counts it as available even
    // if the process uses it again. The lists are larger than the file cache by these pages, so subtract the
    // difference.
    let optional = |name: &str| field(name).unwrap_or(0);
    let of_files = optional("Active(file):").saturating_add(optional("Inactive(file):"));
    let cache = optional("Cached:").saturating_add(optional("Buffers:")).saturating_sub(optional("Shmem:"));
    let available_bytes = field("MemAvailable:")?.saturating_sub(of_files.saturating_sub(cache));
    Some(Memory { available_bytes, total_bytes: field("MemTotal:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24652928 kB\nMemFree:  1 kB\nMemAvailable:   20000000 kB\n";

    fn read_from<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&Path) -> Option<String> + 'a {
        move |path: &Path| {
            let (_, text) = files.iter().find(|(name, _)| Path::new(name) == path)?;
            Some((*text).to_owned())
        }
    }

    #[track_caller]
    fn check_memory(files: &[(&str, &str)], expected: Option<Memory>) {
        assert_eq!(Memory::at(&read_from(files)), expected);
    }

    #[track_caller]
    fn check_oom_kills(files: &[(&str, &str)], expected: Option<OomKills>) {
        assert_eq!(oom_kills_at(&read_from(files)), expected);
    }

    #[test]
    fn available_memory_respects_the_machine_and_the_control_group() {
        let meminfo = ("/proc/meminfo", MEMINFO);
        let machine = Memory { available_bytes: 20_480_000_000, total_bytes: 25_244_598_272 };
        check_memory(&[meminfo], Some(machine));
        check_memory(&[("/proc/meminfo", "nonsense")], None);
        check_memory(&[], None);
        // The lists of file pages have 5000 kB, of which 3500 kB are the file cache. So 1500 kB are lazily freed.
        let lazy = "Buffers: 500 kB\nCached: 4000 kB\nShmem: 1000 kB\nActive(file): 2000 kB\nInactive(file): 3000 kB\n";
        let text = MEMINFO.to_owned() + lazy;
        let available_bytes = 20_480_000_000 - 1500 * 1024;
        check_memory(&[("/proc/meminfo", text.as_str())], Some(Memory { available_bytes, ..machine }));

        let group = ("/proc/self/cgroup", "0::/a\n");
        let mounts = ("/proc/self/mountinfo", "30 23 0:26 / /groups rw - cgroup2 cgroup2 rw\n");
        let used = ("/groups/a/memory.current", "7000\n");
        let stat = ("/groups/a/memory.stat", "anon 5\ninactive_file 2000\n");
        let limited = |limit| [meminfo, group, mounts, used, stat, ("/groups/a/memory.max", limit)];
        check_memory(&limited("10000\n"), Some(Memory { available_bytes: 5000, total_bytes: 10000 }));
        check_memory(&limited("max\n"), Some(machine));
        // A limit above the machine's memory changes nothing.
        check_memory(&limited("100000000000\n"), Some(machine));
    }

    #[test]
    fn kill_counters_are_read_from_the_control_group_and_the_machine() {
        let group = ("/proc/self/cgroup", "0::/a\n");
        let mounts = ("/proc/self/mountinfo", "30 23 0:26 / /groups rw - cgroup2 cgroup2 rw\n");
        let events = ("/groups/a/memory.events", "oom 1\noom_kill 2\n");
        let vmstat = ("/proc/vmstat", "nr_free_pages 9\noom_kill 5\n");
        check_oom_kills(&[group, mounts, events, vmstat], Some(OomKills { group: Some(2), machine: Some(5) }));
        check_oom_kills(&[group, mounts, vmstat], Some(OomKills { group: None, machine: Some(5) }));
        check_oom_kills(&[group, mounts, events], Some(OomKills { group: Some(2), machine: None }));
        check_oom_kills(&[group, mounts, ("/proc/vmstat", "nr_free_pages 9\n")], None);
    }

    #[test]
    fn long_files_are_read_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        std::fs::write(&path, "0123456\n".repeat(200_000)).unwrap();
        let text = read_file(&path).unwrap();
        assert!(text.len() < 1 << 20 && text.ends_with("\n0123456"), "{} bytes", text.len());
        std::fs::write(&path, b"one \xff\ntwo 2\n").unwrap();
        assert_eq!(cgroup::field(&read_file(&path).unwrap(), "two"), Some(2));
        assert_eq!(read_file(folder.path()), None);
    }
}
