//! Is there room for an engine?

use std::{fs, time::Duration};
use tokio::time::Instant;

/// What the machine, and the control group this process is in, still have to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes free, or freed when asked for.
    pub available_bytes: u64,
    /// Bytes there are.
    pub total_bytes: u64,
}

/// Not enough memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an engine with {threads} thread(s) needs {} to start, {} are free of {}; \
     stop something else, use fewer --threads, or wait for memory with --wait-memory",
    gigabytes(*.needed_bytes), gigabytes(.memory.available_bytes), gigabytes(.memory.total_bytes)
)]
pub struct MemoryError {
    /// Threads the engine would use.
    pub threads: usize,
    /// Bytes it would need while it starts.
    pub needed_bytes: u64,
    /// What is there.
    pub memory: Memory,
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

impl Memory {
    /// Reads it from the system; `None` where it cannot be known.
    #[must_use]
    pub fn now() -> Option<Self> {
        let host = parse_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
        let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
            let path = text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
            group_limit(|file| fs::read_to_string(format!("/sys/fs/cgroup{path}/{file}")).ok())
        });
        Some(match group {
            Some(group) => Self {
                available_bytes: host.available_bytes.min(group.available_bytes),
                total_bytes: host.total_bytes.min(group.total_bytes),
            },
            None => host,
        })
    }
}

fn parse_meminfo(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    // Memory that a process has freed lazily (MADV_FREE) stands among the pages of files until the system looks at it, and so counts as available also when it has
    // long been in use again. Whatever is there beyond the cache of files is left out.
    let optional = |name: &str| field(name).unwrap_or(0);
    let of_files = optional("Active(file):").saturating_add(optional("Inactive(file):"));
    let cache = optional("Cached:").saturating_add(optional("Buffers:")).saturating_sub(optional("Shmem:"));
    let available_bytes = field("MemAvailable:")?.saturating_sub(of_files.saturating_sub(cache));
    Some(Memory { available_bytes, total_bytes: field("MemTotal:")? })
}

/// Limit and use of a control group (version 2); page cache that can go counts as free.
fn group_limit(read: impl Fn(&str) -> Option<String>) -> Option<Memory> {
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let inactive: u64 =
        stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok()).unwrap_or(0);
    let available_bytes = limit.saturating_sub(used.saturating_sub(inactive));
    Some(Memory { available_bytes, total_bytes: limit })
}

/// Peak resident bytes of an engine while it starts: measured 8.6 GB with one thread and 14.8 GB with two (it settles at 6.7 GB).
/// More threads prepare more recursion programs at a time, of which there are few.
#[must_use]
pub fn engine_memory_needed(threads: usize) -> u64 {
    const ONE_THREAD: u64 = 8_600_000_000;
    const EACH_FURTHER: u64 = 6_200_000_000;
    /// Programs that are prepared at the same time, at most.
    const MOST_AT_A_TIME: usize = 4;
    ONE_THREAD + EACH_FURTHER * (threads.clamp(1, MOST_AT_A_TIME) as u64 - 1)
}

/// Returns when an engine of `threads` threads has room to start; at once where memory cannot be known.
///
/// # Errors
/// When there is too little after `wait`.
pub async fn wait_for_memory(threads: usize, wait: Duration) -> Result<(), MemoryError> {
    let needed_bytes = engine_memory_needed(threads);
    let deadline = Instant::now() + wait;
    let mut told = false;
    loop {
        match Memory::now() {
            Some(memory) if memory.available_bytes < needed_bytes => {
                // What the machine does not have will not come.
                if Instant::now() >= deadline || memory.total_bytes < needed_bytes {
                    return Err(MemoryError { threads, needed_bytes, memory });
                }
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(
                        needed_bytes,
                        available_bytes = memory.available_bytes,
                        "waiting for memory to load the prover"
                    );
                }
            }
            _ => return Ok(()),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_read_from_the_host_and_the_control_group() {
        let meminfo = "MemTotal:       24652928 kB\nMemFree:  1 kB\nMemAvailable:   20000000 kB\n";
        let host = parse_meminfo(meminfo).unwrap();
        assert_eq!(host, Memory { available_bytes: 20_480_000_000, total_bytes: 25_244_598_272 });
        assert_eq!(parse_meminfo("nonsense"), None);
        // 5000 kB on the lists of files, of which 3500 are the cache of files.
        let lazy = "Buffers: 500 kB\nCached: 4000 kB\nShmem: 1000 kB\nActive(file): 2000 kB\nInactive(file): 3000 kB\n";
        let host = parse_meminfo(&(meminfo.to_owned() + lazy)).unwrap();
        assert_eq!(host.available_bytes, 20_480_000_000 - 1500 * 1024);

        let files = |limit: &'static str| {
            move |file: &str| {
                Some(
                    match file {
                        "memory.max" => limit,
                        "memory.current" => "7000\n",
                        "memory.stat" => "anon 5\ninactive_file 2000\n",
                        _ => return None,
                    }
                    .to_owned(),
                )
            }
        };
        assert_eq!(group_limit(files("10000\n")), Some(Memory { available_bytes: 5000, total_bytes: 10000 }));
        assert_eq!(group_limit(files("max\n")), None, "no limit");
    }

    #[tokio::test(start_paused = true)]
    async fn too_little_memory_is_an_error_that_names_the_way_out() {
        let needed_bytes = engine_memory_needed(2);
        assert!(needed_bytes > engine_memory_needed(1));
        let memory = Memory { available_bytes: 1_000_000_000, total_bytes: 25_000_000_000 };
        let text = MemoryError { threads: 2, needed_bytes, memory }.to_string();
        assert!(text.contains("14.8 GB") && text.contains("1.0 GB") && text.contains("--wait-memory"), "{text}");
    }
}
