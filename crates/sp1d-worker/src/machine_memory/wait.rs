//! Waits for enough memory to start an engine.

use sp1d_machine::Memory;
use std::time::Duration;
use tokio::time::Instant;

/// The machine does not have enough free memory to start an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not enough memory to load a prover: {} needed, {} of {} free\nhint: {}",
    gigabytes(*.needed_bytes), gigabytes(.memory.available_bytes), gigabytes(.memory.total_bytes),
    remedy(*.needed_bytes, .memory.total_bytes)
)]
pub struct MemoryError {
    /// Bytes that the engine needs while it starts.
    pub needed_bytes: u64,
    /// Memory at the time of the error.
    pub memory: Memory,
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

fn remedy(needed_bytes: u64, total_bytes: u64) -> &'static str {
    if total_bytes < needed_bytes {
        "raise the memory limit of the worker, or use a machine with more memory"
    } else {
        "stop other programs, or wait for memory with `--wait-memory`"
    }
}

/// Returns when `needed_bytes` of memory are available. Returns at once if the amount of memory is unknown.
///
/// # Errors
/// Fails if too little memory is available after `wait`. Fails at once if the engine needs more than the total memory.
pub async fn wait_for_memory(needed_bytes: u64, wait: Duration) -> Result<(), MemoryError> {
    let deadline = Instant::now() + wait;
    let mut logged = false;
    loop {
        match Memory::now() {
            Some(memory) if memory.available_bytes < needed_bytes => {
                // Waiting does not help if the total is too small.
                if Instant::now() >= deadline || memory.total_bytes < needed_bytes {
                    return Err(MemoryError { needed_bytes, memory });
                }
                if !std::mem::replace(&mut logged, true) {
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
    fn the_error_names_the_sizes_and_a_remedy() {
        let text = |needed_bytes| {
            let memory = Memory { available_bytes: 1_000_000_000, total_bytes: 25_000_000_000 };
            MemoryError { needed_bytes, memory }.to_string()
        };
        let busy = text(14_800_000_000);
        assert!(busy.contains("14.8 GB") && busy.contains("1.0 GB") && busy.contains("--wait-memory"), "{busy}");
        let small = text(25_100_000_000);
        assert!(small.contains("25.1 GB") && !small.contains("--wait-memory"), "{small}");
    }
}
