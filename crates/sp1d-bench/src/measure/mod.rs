//! How proofs are measured. It does not know which configurations a bench compares.

mod cuts;
mod machine_facts;
mod prover;
mod run;

pub(crate) use cuts::cuts;
pub(crate) use machine_facts::this_machine;
pub(crate) use prover::{BenchMode, BenchProgram, MeasureArguments, ProofFigures, prove};
pub(crate) use run::{
    BenchProof, Configuration, ConfigurationOutcome, MeasuredRound, WorkerProcess, WorkerSetting, pin_to_two_cores,
    request_proof, rounds, start_workers, without_settings,
};
