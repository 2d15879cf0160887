//! Arguments of the subcommands that execute, prove and verify programs without a service.

use super::shared::{OutputForm, PoolArguments, ProgramArguments, mode_parser};
use clap::Args;
use sp1d_model::ProofMode;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct ProveArguments {
    #[command(flatten)]
    pub(crate) program: ProgramArguments,
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
pub(crate) struct VerifyArguments {
    /// Proof file, as saved by `sp1d prove` or by SP1's own tools.
    #[arg(long, value_name = "FILE")]
    pub(crate) proof: PathBuf,
    /// Program file (ELF) that the proof must be for.
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct VkeyArguments {
    /// Program file (ELF).
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// Output format.
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: OutputForm,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Number of steps of the Fibonacci loop to prove.
    #[arg(long, value_name = "N", default_value_t = 250_000)]
    pub(crate) steps: u32,
    /// File to write the proof to [default: demo-proof.bin in sp1d's temporary folder].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print the outcome as one JSON object, on the last line of stdout.
    #[arg(long)]
    pub(crate) json: bool,
}
