//! How proofs are measured. It does not know which configurations a bench compares.

mod cuts;
mod gpus;
mod machine_facts;
mod prover;
mod run;

pub(crate) use cuts::cuts;
pub(crate) use gpus::{BenchGpus, GpuArguments};
pub(crate) use machine_facts::this_machine;
pub(crate) use prover::{BenchMode, BenchProgram, MeasureArguments, ProofFigures, prove};
pub(crate) use run::{
    BenchProof, Configuration, MeasuredRound, WorkerProcess, WorkerSetting, gpu_peaks, pin_to_two_cores, request_proof,
    rounds, start_workers, without_settings,
};
