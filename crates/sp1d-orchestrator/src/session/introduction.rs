//! What a worker reports about itself when a session starts.

use crate::{
    runner::task::AttemptMemory,
    settings::{MAX_HELD_ATTEMPTS, OrchestratorSettings},
    workers::worker_address::WorkerAddress,
};
use sp1d_model::{GpuState, clean_line};
use sp1d_protocol::wire::{self, HelloRequest, Machine};
use sp1d_scheduler::{KindSet, TaskKind};
use std::collections::BTreeMap;

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of characters of a worker's name, and of the name of its processor with its GPUs.
    const MAX_TEXT_CHARACTERS: usize = 64; Count by Worker;
    /// Maximum number of GPUs of a worker whose state is kept.
    const MAX_GPUS: usize = 64; Count by Worker;
}

/// What a worker reported about itself in an accepted handshake.
#[derive(Debug, Clone)]
pub(super) struct WorkerIntroduction {
    pub(super) name: String,
    pub(super) supported_kinds: KindSet,
    /// Why it does not support the other task kinds.
    pub(super) missing_capabilities: BTreeMap<TaskKind, String>,
    pub(super) threads: u32,
    /// Maximum number of attempts that it may hold.
    pub(super) slots: u32,
    /// Memory of its machine; 0 if unknown.
    pub(super) machine_bytes: u64,
    /// How much of it its attempts can use; `None` if the worker does not report it.
    pub(super) attempt_memory: Option<AttemptMemory>,
    /// Number of its provers, at least 1.
    pub(super) provers: u32,
    /// The most cells of a shard that it proves; `None` if only its memory bounds them.
    pub(super) largest_cut: Option<u64>,
    /// Its processor, after its GPUs if it proves on them.
    pub(super) hardware: String,
}

impl WorkerIntroduction {
    /// Reads the hello of the worker at `address`. A worker without a name is named after its address.
    pub(super) fn new(hello: HelloRequest, address: &WorkerAddress, settings: &OrchestratorSettings) -> Self {
        let (supported_kinds, missing_capabilities) = (hello.kind_set(), hello.missing_capability_texts());
        let short = |text: String| clean_line(&text, MAX_TEXT_CHARACTERS).trim().to_owned();
        let name = short(hello.name);
        let name = if name.is_empty() { address.to_string() } else { name };
        let machine = hello.machine.unwrap_or_default();
        let hardware = short(hardware_text(&machine));
        let Machine {
            threads,
            memory_bytes: machine_bytes,
            provers,
            largest_cut,
            pinned_bytes,
            global_dependencies_opt,
            ..
        } = machine;
        tracing::debug!(
            worker = %name,
            threads,
            machine_bytes,
            ?hardware,
            largest_cut,
            pinned_bytes,
            global_dependencies_opt,
            "hello"
        );
        let attempt_memory = hello.readiness.and_then(|readiness| attempt_memory(readiness.memory));
        let provers = provers.max(1);
        let slots = settings.shard_batch_size.saturating_mul(provers).clamp(1, MAX_HELD_ATTEMPTS);
        let largest_cut = Some(largest_cut).filter(|cut| *cut > 0);
        Self {
            name,
            supported_kinds,
            missing_capabilities,
            threads,
            slots,
            machine_bytes,
            attempt_memory,
            provers,
            largest_cut,
            hardware,
        }
    }
}

/// Returns the state of a worker's GPUs.
pub(super) fn gpu_states(readings: wire::GpuReadings) -> Vec<GpuState> {
    let state = |reading: wire::GpuReading| GpuState {
        index: reading.index,
        used_bytes: reading.used_bytes,
        utilization_percent: reading.utilization_percent,
        celsius: reading.celsius,
        milliwatts: reading.milliwatts,
    };
    readings.gpus.into_iter().take(MAX_GPUS).map(state).collect()
}

/// Describes the hardware that a worker proves on, for people: its GPUs, then its processor.
pub(crate) fn hardware_text(machine: &Machine) -> String {
    let Some(gpu) = machine.gpus.first() else { return machine.cpu.clone() };
    let count = match machine.gpus.len() {
        1 => String::new(),
        count => format!("{count} x "),
    };
    let is_same = machine.gpus.iter().all(|other| other == gpu);
    let others = if is_same { "" } else { " and others" };
    format!("{count}{} {:.0} GB{others}, {}", gpu.model, gpu.memory_bytes as f64 / 1e9, machine.cpu)
}

/// Returns the memory that a worker reports; `None` if it reports none, or if it contradicts itself.
pub(crate) fn attempt_memory(memory: Option<wire::AttemptMemory>) -> Option<AttemptMemory> {
    let wire::AttemptMemory { each_bytes, alone_bytes } = memory?;
    (each_bytes <= alone_bytes).then_some(AttemptMemory { each_bytes, alone_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_protocol::wire::Gpu;

    #[track_caller]
    fn check(gpus: &[(&str, u64)], expected: &str) {
        let gpu = |(model, gigabytes): &(&str, u64)| Gpu {
            model: (*model).to_owned(),
            memory_bytes: gigabytes * 1_000_000_000,
        };
        let machine = Machine { cpu: "EPYC".to_owned(), gpus: gpus.iter().map(gpu).collect(), ..Machine::default() };
        assert_eq!(hardware_text(&machine), expected);
    }

    #[test]
    fn the_state_of_few_gpus_is_kept() {
        let reading = |index| wire::GpuReading { index, celsius: Some(61), ..wire::GpuReading::default() };
        let states = gpu_states(wire::GpuReadings { gpus: (0..1000).map(reading).collect() });
        assert_eq!(states.len(), MAX_GPUS);
        assert_eq!(states[1], GpuState { index: 1, celsius: Some(61), ..GpuState::default() });
    }

    #[test]
    fn a_worker_is_described_by_its_gpus_and_its_processor() {
        check(&[], "EPYC");
        check(&[("H200", 150)], "H200 150 GB, EPYC");
        check(&[("H200", 150), ("H200", 150)], "2 x H200 150 GB, EPYC");
        check(&[("H200", 150), ("L4", 24)], "2 x H200 150 GB and others, EPYC");
    }
}
