//! Describes the machine and the software that figures were measured with.

use serde::Serialize;
use std::fs;

#[derive(Debug, Serialize)]
pub(crate) struct MachineFacts {
    processor: String,
    cores: usize,
    memory_bytes: u64,
    sp1: String,
    release: String,
}

impl MachineFacts {
    pub(crate) fn this() -> Self {
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let build = sp1d_engine::build_identity();
        Self {
            processor: model.trim_start_matches([' ', '\t', ':']).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: sp1d_machine::Memory::now().map_or(0, |memory| memory.total_bytes),
            sp1: build.sp1_version,
            release: build.release,
        }
    }
}
