//! The thread of a worker's session, and how a worker introduces itself.

use super::{error::WorkerError, loading::EngineOptions};
use rustix::system::uname;
use sp1d_engine::{Equipment, ProverDevice, build_identity};
use sp1d_machine::{Memory, gpu_library};
use sp1d_protocol::wire::{Gpu, Machine};
use sp1d_worker::{GpuMonitor, Introduction};
use std::{
    fs,
    thread::{self, JoinHandle},
};
use tokio::runtime::Builder;

pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, WorkerError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(WorkerError::Thread)
}

/// Runs the session of a worker on the current thread, which does no heavy work.
pub(super) fn on_own_thread(serve: impl Future<Output = ()>) {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(serve);
            // Do not wait for an engine that is still starting.
            runtime.shutdown_background();
        }
        Err(error) => tracing::error!(%error, "cannot start the worker's runtime"),
    }
}

pub(super) fn default_name(place: &str) -> String {
    format!("{}:{place}", uname().nodename().to_string_lossy())
}

/// Describes the machine and the provers of a worker for its handshakes. `memory_bytes` is the memory of the machine.
fn machine(threads: usize, memory_bytes: Option<u64>, engine: &EngineOptions) -> Machine {
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let model = text.lines().find_map(|line| line.strip_prefix("model name"))?;
        Some(model.trim_start_matches([' ', '\t', ':']).to_owned())
    });
    Machine {
        threads: u32::try_from(threads * engine.provers()).unwrap_or(u32::MAX),
        memory_bytes: memory_bytes.unwrap_or(0),
        cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        provers: u32::try_from(engine.provers()).unwrap_or(u32::MAX),
        gpus: engine.gpus.iter().map(|gpu| Gpu { model: gpu.model.clone(), memory_bytes: gpu.memory_bytes }).collect(),
        largest_cut: engine.largest_cut().unwrap_or(0),
        pinned_bytes: engine.pinned_bytes(),
        global_dependencies_opt: engine.device == ProverDevice::Gpu,
    }
}

pub(super) fn introduction(name: String, threads: usize, engine: &EngineOptions) -> Introduction {
    let memory_bytes = Memory::now().map(|memory| memory.total_bytes);
    let machine = machine(threads, memory_bytes, engine);
    let capabilities = Equipment::of_this_machine(memory_bytes).capabilities();
    let gpus = match gpu_library() {
        Ok(library) if !engine.gpus.is_empty() => {
            GpuMonitor::new(library.into(), engine.gpus.iter().map(|gpu| gpu.index).collect())
        }
        _ => GpuMonitor::default(),
    };
    Introduction { name, build: build_identity(), machine, capabilities, plan: engine.plan(), gpus }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_engine::{GPU_ATTEMPT_BYTES, LOAD_BYTES, REST_BYTES, pinned_bytes};
    use sp1d_machine::GpuDevice;
    use sp1d_worker::ProverCommand;
    use std::time::Duration;

    /// The options of a worker with a prover on each of these GPUs, or with one prover on the processor.
    fn options(gpu_bytes: &[u64]) -> EngineOptions {
        let gpu = |(index, memory_bytes): (u32, &u64)| GpuDevice {
            index,
            uuid: format!("GPU-{index}"),
            model: "a GPU".to_owned(),
            memory_bytes: *memory_bytes,
            capability: (9, 0),
            pci_address: "0000:17:00.0".to_owned(),
            processes: Vec::new(),
        };
        let gpus: Vec<GpuDevice> = (0..).zip(gpu_bytes).map(gpu).collect();
        let command = |gpu: &GpuDevice| ProverCommand {
            program: "/bin/false".into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            gpu: Some(gpu.model.clone()),
        };
        EngineOptions {
            threads: Some(4),
            parallel_shards: None,
            wait_memory: Duration::ZERO,
            niceness: 0,
            release_memory: None,
            commands: gpus.iter().map(command).collect(),
            device: if gpus.is_empty() { ProverDevice::Processor } else { ProverDevice::Gpu },
            gpus,
        }
    }

    const SMALL_CUT: u64 = 285_212_672;
    const LARGE_CUT: u64 = 402_653_184;

    #[test]
    fn a_handshake_says_what_the_provers_are() {
        let engine = options(&[24 << 30, 80 << 30]);
        let found = machine(4, Some(128), &engine);
        assert_eq!((found.threads, found.memory_bytes, found.provers), (8, 128, 2));
        let memories: Vec<u64> = found.gpus.iter().map(|gpu| gpu.memory_bytes).collect();
        assert_eq!(memories, [24 << 30, 80 << 30]);
        // Each shard may go to each prover.
        assert_eq!(found.largest_cut, SMALL_CUT);
        assert_eq!(found.pinned_bytes, pinned_bytes(SMALL_CUT) + pinned_bytes(LARGE_CUT));
        assert!(found.global_dependencies_opt);
        // The prover of the larger GPU pins more than the average.
        assert_eq!(engine.load_bytes(), LOAD_BYTES + pinned_bytes(LARGE_CUT));
        let plan = engine.plan();
        assert_eq!(plan.rest_bytes, 2 * REST_BYTES + found.pinned_bytes);
        assert_eq!(plan.max_attempt_bytes, Some(GPU_ATTEMPT_BYTES));
    }

    #[test]
    fn a_handshake_of_provers_on_processors_names_no_gpu() {
        let found = machine(4, None, &options(&[]));
        assert_eq!((found.threads, found.memory_bytes, found.provers), (4, 0, 1));
        assert!(found.gpus.is_empty() && !found.global_dependencies_opt);
        assert_eq!((found.largest_cut, found.pinned_bytes), (0, 0));
        assert_eq!(options(&[]).load_bytes(), LOAD_BYTES);
        assert_eq!(options(&[]).plan().max_attempt_bytes, None);
    }
}
