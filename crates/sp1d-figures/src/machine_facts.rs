//! Describes the machine and the software that figures were measured with.

use serde::Serialize;
use std::fs;

/// The machine and the software that figures were measured with.
#[derive(Debug, Serialize)]
pub struct MachineFacts {
    processor: String,
    cores: usize,
    memory_bytes: u64,
    kernel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sp1: Option<String>,
    release: String,
}

impl MachineFacts {
    /// Describes this machine. `sp1` is the version of SP1 that proves; `None` if the bench proves nothing. `release`
    /// is the version of this software.
    #[must_use]
    pub fn this(sp1: Option<String>, release: String) -> Self {
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: model.trim_start_matches([' ', '\t', ':']).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: sp1d_machine::Memory::now().map_or(0, |memory| memory.total_bytes),
            kernel: kernel.trim().to_owned(),
            sp1,
            release,
        }
    }
}
