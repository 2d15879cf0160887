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

pub(super) fn introduction(name: String, threads: usize, engine: &EngineOptions) -> Introduction {
    let memory_bytes = Memory::now().map(|memory| memory.total_bytes);
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let model = text.lines().find_map(|line| line.strip_prefix("model name"))?;
        Some(model.trim_start_matches([' ', '\t', ':']).to_owned())
    });
    let machine = Machine {
        threads: u32::try_from(threads * engine.provers()).unwrap_or(u32::MAX),
        memory_bytes: memory_bytes.unwrap_or(0),
        cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        provers: u32::try_from(engine.provers()).unwrap_or(u32::MAX),
        gpus: engine.gpus.iter().map(|gpu| Gpu { model: gpu.model.clone(), memory_bytes: gpu.memory_bytes }).collect(),
        largest_cut: engine.largest_cut().unwrap_or(0),
        pinned_bytes: engine.pinned_bytes(),
        global_dependencies_opt: engine.device == ProverDevice::Gpu,
    };
    let capabilities = Equipment::of_this_machine(memory_bytes).capabilities();
    let gpus = match gpu_library() {
        Ok(library) if !engine.gpus.is_empty() => {
            GpuMonitor::new(library.into(), engine.gpus.iter().map(|gpu| gpu.index).collect())
        }
        _ => GpuMonitor::default(),
    };
    Introduction { name, build: build_identity(), machine, capabilities, plan: engine.plan(), gpus }
}
