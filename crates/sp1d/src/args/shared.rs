//! Arguments that several subcommands have.

use crate::files::InputArgument;
use clap::{
    Args, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use sp1d_model::ProofMode;
use sp1d_orchestrator::Placement;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct ProgramArguments {
    /// Program file (ELF), as built by `cargo prove build`.
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: PathBuf,
    /// File with the whole input: an SP1Stdin serialized with bincode.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub(crate) stdin: Option<PathBuf>,
    /// Input value. Repeat the flag for each value, in order: u32:N, u64:N or str:TEXT (read with `io::read`),
    /// hex:BYTES or file:PATH (read with `io::read_vec`).
    #[arg(long, value_name = "KIND:VALUE")]
    pub(crate) input: Vec<InputArgument>,
    /// Fail if the program needs more than this many cycles.
    #[arg(long, value_name = "CYCLES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) cycle_limit: Option<u64>,
    /// Fail after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,
}

/// Settings that can be given as flags. They take precedence over environment variables and the worker list's file.
#[derive(Debug, Args)]
pub(crate) struct PoolArguments {
    /// Worker list: a file with a JSON array of addresses, where "local" means this process, or with an object that
    /// contains such an array as "workers" [env: SP1_DISTRIBUTED_WORKERS] [default: distributed.json].
    #[arg(long, value_name = "FILE")]
    pub(crate) workers: Option<PathBuf>,
    /// Tasks (usually shards) that a worker may hold at the same time for each of its provers, 1 to 128. Use 1 for the
    /// least memory [env: SHARD_BATCH_SIZE] [default: 2].
    #[arg(long, value_name = "N")]
    pub(crate) shard_batch_size: Option<u32>,
    /// `spread` distributes the work over all workers. `pack` uses the fewest workers that finish as early [env:
    /// SP1_DISTRIBUTED_PLACEMENT] [default: spread].
    #[arg(long, value_name = "POLICY")]
    pub(crate) placement: Option<Placement>,
}

/// Connection to a service.
#[derive(Debug, Args)]
pub(crate) struct RemoteArguments {
    /// URL of the service.
    #[arg(long, value_name = "URL", env = "SP1_DISTRIBUTED_URL", default_value = "http://127.0.0.1:8090")]
    pub(crate) url: String,
    /// Output format.
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: OutputForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    Table,
    Json,
}

/// Returns a parser for the names of proof modes.
pub(super) fn mode_parser() -> impl TypedValueParser<Value = ProofMode> {
    PossibleValuesParser::new(ProofMode::ALL.map(ProofMode::name)).map(|name| {
        let named = ProofMode::ALL.into_iter().find(|mode| mode.name() == name);
        named.expect("the parser accepts only these names")
    })
}
