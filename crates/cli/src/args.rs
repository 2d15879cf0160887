//! Arguments.

use crate::{exit, input::Input};
use clap::{Args, Parser, Subcommand, ValueEnum};
use orchestrator::{Placement, ProofMode};
use protocol::{Address, Filter};
use std::path::PathBuf;

/// Prove SP1 programs on many machines.
#[derive(Debug, Parser)]
#[command(name = "sp1d", version, after_help = exit::HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) log: Log,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// What to log, as a filter like `info` or `sp1_distributed_worker=debug`.
    #[arg(long, global = true, env = "SP1D_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Form of log lines.
    #[arg(long, global = true, env = "SP1D_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Show file and line of each log line.
    #[arg(long, global = true)]
    pub(crate) log_source: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prove for orchestrators that connect.
    Worker(WorkerArguments),
    /// Prove a program on the workers of a list.
    Prove(ProveArguments),
    /// Run a program without proving.
    Execute(ExecuteArguments),
    /// Verify a proof file.
    Verify(VerifyArguments),
    /// Print the verifying key of a program.
    Vkey(VkeyArguments),
    /// Show the settings of an orchestrator, and where each comes from.
    Config(ConfigArguments),
    /// Print the reference of all settings, in Markdown.
    #[command(hide = true)]
    Reference,
    /// Start two workers here, prove a program on them, and stop them.
    Demo(DemoArguments),
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArguments {
    /// Where to listen, as HOST:PORT; an IPv6 address stands in brackets.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Address,
    /// Which orchestrators may connect: addresses, ranges like 10.0.0.0/8 and host names, separated by commas; `any` for all.
    #[arg(long, value_name = "ADDR[,ADDR…]")]
    pub(crate) orchestrator: Filter,
    /// Threads that prove [default: one for each core it may use].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Name that orchestrators show [default: host name and port].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Shards inside the prover at a time [default: 1 with one thread, else 2].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) parallel_shards: Option<u16>,
    /// Cores to run on, separated by commas, like 0 or 0,1 [default: all].
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    pub(crate) pin: Vec<u16>,
    /// Wait up to this long for enough free memory instead of ending with an error.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "86400", default_value = "0")]
    pub(crate) wait_memory: u64,
    /// End when the process that started it ends.
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProgramArguments {
    /// The program, as `cargo prove build` makes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: PathBuf,
    /// Its input: a serialised SP1Stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub(crate) stdin: Option<PathBuf>,
    /// Its input, a value at a time and in order: u32:N, u64:N, str:TEXT (read with `io::read`), hex:BYTES, file:PATH (read with `io::read_vec`).
    #[arg(long, value_name = "KIND:VALUE")]
    pub(crate) input: Vec<Input>,
    /// Stop the program after this many cycles.
    #[arg(long, value_name = "CYCLES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) cycle_limit: Option<u64>,
    /// Give up after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct ProveArguments {
    #[command(flatten)]
    pub(crate) program: ProgramArguments,
    /// Kind of proof.
    #[arg(long, default_value = "core")]
    pub(crate) mode: Mode,
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// Where the proof goes.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Print the outcome as one JSON object, the last line on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What counts more than the environment and the list's file.
#[derive(Debug, Args)]
pub(crate) struct PoolArguments {
    /// The list of workers: a JSON array of addresses, of which "local" is this process, or an object with such an array as "workers"
    /// [env: SP1_DISTRIBUTED_WORKERS] [default: distributed.json].
    #[arg(long, value_name = "FILE")]
    pub(crate) workers: Option<PathBuf>,
    /// Shards that a worker may hold at a time, 1 for the least memory [env: SHARD_BATCH_SIZE] [default: 2].
    #[arg(long, value_name = "N")]
    pub(crate) shard_batch_size: Option<u32>,
    /// `spread` the work over all workers, or `pack` it on as few as finish as early [env: SP1_DISTRIBUTED_PLACEMENT] [default: spread].
    #[arg(long, value_name = "POLICY")]
    pub(crate) placement: Option<Placement>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// Form of the output.
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: OutputForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    Table,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    Core,
    Compressed,
    Groth16,
    Plonk,
}

impl From<Mode> for ProofMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Core => Self::Core,
            Mode::Compressed => Self::Compressed,
            Mode::Groth16 => Self::Groth16,
            Mode::Plonk => Self::Plonk,
        }
    }
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
    /// The proof, as `sp1d prove` or SP1's own tools save it.
    #[arg(long, value_name = "FILE")]
    pub(crate) proof: PathBuf,
    /// The program it should be a proof of.
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct VkeyArguments {
    /// The program.
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Steps of the Fibonacci loop that is proven.
    #[arg(long, value_name = "N", default_value_t = 250_000)]
    pub(crate) steps: u32,
    /// Where the proof goes [default: demo-proof.bin in a temporary folder].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print the outcome as one JSON object, the last line on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}
