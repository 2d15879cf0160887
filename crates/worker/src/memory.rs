//! Is there enough memory for an engine?

use machine::Memory;
use std::time::Duration;
use tokio::time::Instant;

/// Not enough memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not enough memory for a prover: it needs {} to start, {} of {} are free; \
     stop other programs, or wait for memory with --wait-memory",
    gigabytes(*.needed_bytes), gigabytes(.memory.available_bytes), gigabytes(.memory.total_bytes)
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

/// Returns when `needed_bytes` of memory are available. Returns at once if the amount of memory is unknown.
///
/// # Errors
/// Fails if memory is still too small after `wait`, and at once if the engine needs more than the total.
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
    fn too_little_memory_is_an_error_that_names_the_way_out() {
        let memory = Memory { available_bytes: 1_000_000_000, total_bytes: 25_000_000_000 };
        let text = MemoryError { needed_bytes: 14_800_000_000, memory }.to_string();
        assert!(text.contains("14.8 GB") && text.contains("1.0 GB") && text.contains("--wait-memory"), "{text}");
    }
}
