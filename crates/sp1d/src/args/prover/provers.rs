//! Arguments of workers and their provers.

use super::export::ExportArguments;
use crate::files::InputArgument;
use clap::Args;
use sp1d_machine::GpuSelection;
use sp1d_orchestrator::default_spill_folder;
use sp1d_protocol::{Address, Filter};
use std::path::PathBuf;

/// Maximum number of provers of a worker.
pub(crate) const MAX_PROVERS: u16 = 64;

#[derive(Debug, Args)]
pub(crate) struct WorkerArguments {
    /// Address to listen on, as HOST:PORT. Write an IPv6 address in brackets.
    #[arg(long, value_name = "ADDR", required_unless_present = "join")]
    pub(crate) listen: Option<Address>,
    /// Orchestrators that may connect: addresses, ranges like 10.0.0.0/8 and host names, separated by commas, or `any`.
    #[arg(long, value_name = "ADDR[,ADDR…]", required_unless_present = "join")]
    pub(crate) orchestrator: Option<Filter>,
    /// Orchestrator to connect to instead of listening, as HOST:PORT (its `sp1d serve --join-listen` address). The
    /// worker reconnects whenever the connection is lost.
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["listen", "orchestrator"])]
    pub(crate) join: Option<Address>,
    /// Identity of this worker: a file that `sp1d keys issue` has written, or a folder with `tls.key`, `tls.crt` and
    /// `ca.crt`. With it, all connections use TLS, and only orchestrators of the same authority are served [default: no
    /// TLS].
    #[arg(long, value_name = "PATH")]
    pub(crate) tls: Option<PathBuf>,
    /// Allow connections without TLS to other machines. They can be read and changed on the way.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Address of a port for health probes over HTTP, as HOST:PORT. `/healthz` succeeds while the worker runs,
    /// `/readyz` while a prover is loaded and the worker takes new tasks [default: no such port].
    #[arg(long, value_name = "ADDR")]
    pub(crate) health: Option<Address>,
    /// Number of prover processes, 1 to 64. They share the worker's connection and divide its cores.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_PROVERS)))]
    pub(crate) provers: u16,
    /// GPUs to prove on: `all`, or their numbers separated by commas, as `nvidia-smi -L` lists them [default: none, the
    /// provers compute on the processor]. Each GPU gets a prover process on the cores next to it. Needs a build with
    /// GPU support (`./x gpu`).
    #[arg(long, value_name = "N[,N…]|all", conflicts_with = "provers")]
    pub(crate) gpus: Option<GpuSelection>,
    /// Threads of each prover, 1 to 1024 [default: its share of the cores that the worker may use].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Name of this worker [default: host name and port, or host name and process id with --join].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Shards that each prover proves at the same time, 1 to 16 [default: 1 with one thread, else 2].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) parallel_shards: Option<u16>,
    /// Cores to run on, separated by commas, for example 0 or 0,1 [default: all]. The provers divide these cores.
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    pub(crate) pin: Vec<u16>,
    /// Seconds to wait for enough free memory before failing. Without a value: 86400 (24 hours).
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "86400", default_value = "0")]
    pub(crate) wait_memory: u64,
    /// Seconds to finish the attempts that have started when the worker is stopped with SIGTERM or Ctrl-C, at most
    /// 86400. With 0, the worker stops at once. A second signal always stops it at once.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(..=86400))]
    pub(crate) grace: u64,
    /// Stop when the parent process ends.
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
    #[command(flatten)]
    pub(crate) export: ExportArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ProverArguments {
    /// Prove on the first GPU that this process sees.
    #[arg(long)]
    pub(crate) gpu: bool,
    #[arg(long)]
    pub(crate) threads: u16,
    #[arg(long)]
    pub(crate) parallel_shards: Option<u16>,
    #[arg(long, value_delimiter = ',')]
    pub(crate) pin: Vec<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct TuneArguments {
    /// Program file (ELF) to measure with [default: a block of Ethereum transactions].
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: Option<PathBuf>,
    /// File with the whole input: an SP1Stdin serialized with bincode.
    #[arg(long, value_name = "FILE", conflicts_with = "input", requires = "elf")]
    pub(crate) stdin: Option<PathBuf>,
    /// Input value. Repeat the flag for each value, in order, as for `sp1d prove`.
    #[arg(long, value_name = "KIND:VALUE", requires = "elf")]
    pub(crate) input: Vec<InputArgument>,
    /// Measure only with this number of provers, 1 to 64.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_PROVERS)))]
    pub(crate) provers: Option<u16>,
    /// Measure settings of a worker on GPUs, with up to all of these: `all`, or their numbers separated by commas, as
    /// `nvidia-smi -L` lists them [default: none, the provers compute on the processor].
    #[arg(long, value_name = "N[,N…]|all", conflicts_with = "provers")]
    pub(crate) gpus: Option<GpuSelection>,
    /// Measure only with this number of shards that each prover proves at the same time: 1 or 2.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2))]
    pub(crate) parallel_shards: Option<u16>,
    /// Measure the fastest setting with every smaller cut, even if smaller cuts are slower.
    #[arg(long)]
    pub(crate) every_cut: bool,
    /// Abandon a setting after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,
    /// Print the results as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// No argument: read here because `prepare` changes `TMPDIR` later.
    #[arg(skip = default_spill_folder())]
    pub(crate) default_spill_folder: PathBuf,
}
