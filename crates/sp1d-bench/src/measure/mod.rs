//! How proofs are measured and how figures are written. It does not know which configurations a bench compares.

mod figures;
mod machine_facts;
mod prover;
mod run;
mod spread;

pub(crate) use figures::write_figures;
pub(crate) use machine_facts::MachineFacts;
pub(crate) use prover::{BenchProgram, MeasureArguments, ProofFigures, prove};
pub(crate) use run::{
    BenchProof, Configuration, ConfigurationOutcome, MeasuredRound, WorkerSetting, pin_to_two_cores, rounds,
    start_workers, without_settings,
};
pub(crate) use spread::FigureSpread;
