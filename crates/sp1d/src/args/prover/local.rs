//! Arguments of the subcommands that execute and prove programs without a service.

use super::pool::PoolArguments;
use crate::args::{
    shared::{ProgramArguments, ProofLimitArguments, mode_parser},
    verify::KeyArguments,
};
use clap::Args;
use sp1d_model::ProofMode;
use sp1d_orchestrator::default_spill_folder;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct ProveArguments {
    #[command(flatten)]
    pub(crate) program: ProgramArguments,
    #[command(flatten)]
    pub(crate) limits: ProofLimitArguments,
    /// Kind of proof.
    #[arg(long, default_value = "core", value_parser = mode_parser())]
    pub(crate) mode: ProofMode,
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// File to write the proof to.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Print the outcome as one JSON object, on the last line of stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExecuteArguments {
    #[command(flatten)]
    pub(crate) program: ProgramArguments,
    /// Print the outcome as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VkeyArguments {
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    /// File to write the key to, for `sp1d verify --vkey`: an SP1VerifyingKey serialized with bincode.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// Print the settings as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Number of steps of the Fibonacci loop to prove. The default is enough for three small shards.
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    pub(crate) steps: u32,
    /// File to write the proof to [default: demo-proof.bin in sp1d's temporary folder].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print the outcome and the time of each phase as one JSON object, on the last line of stdout.
    #[arg(long)]
    pub(crate) json: bool,
    /// No argument: read here because `prepare` changes `TMPDIR` later.
    #[arg(skip = default_spill_folder())]
    pub(crate) default_spill_folder: PathBuf,
}
