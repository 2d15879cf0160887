//! Checks whether this machine has enough memory for the worker of this process.

use sp1d_engine::LOAD_BYTES;
use sp1d_machine::Memory;
use sp1d_orchestrator::{WorkerAddress, WorkerList};
use sp1d_worker::MemoryError;

/// Checks that `memory` is enough to load the prover of the worker `local`, if `list` contains no other worker. Other
/// workers can prove without it. A machine whose memory is in use is not an error: the local worker waits for memory.
///
/// # Errors
/// If the machine has less memory than the prover needs.
pub fn check_local_memory(list: &WorkerList, memory: Option<Memory>) -> Result<(), MemoryError> {
    let is_alone = list.has_local() && list.0.iter().all(|worker_address| *worker_address == WorkerAddress::Local);
    match memory {
        Some(memory) if is_alone && memory.total_bytes < LOAD_BYTES => {
            Err(MemoryError { needed_bytes: LOAD_BYTES, memory })
        }
        _ => Ok(()),
    }
}
