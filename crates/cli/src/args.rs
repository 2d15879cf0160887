//! Command-line arguments. The doc comments in this file are the text of `--help` and of the manual pages.

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
    /// Log filter, for example `info` or `sp1_distributed_worker=debug` [default: info for `worker` and `serve`, warn
    /// for other commands].
    #[arg(long, global = true, env = "SP1D_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Format of log lines.
    #[arg(long, global = true, env = "SP1D_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Show the source file and line of each log line.
    #[arg(long, global = true)]
    pub(crate) log_source: bool,
}

impl LogFormat {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prove tasks for an orchestrator.
    Worker(WorkerArguments),
    /// Prove for the worker that started this process.
    #[command(hide = true)]
    Prover(ProverArguments),
    /// Prove a program on the workers of a worker list.
    Prove(ProveArguments),
    /// Execute a program without proving it.
    Execute(ExecuteArguments),
    /// Verify a proof file.
    Verify(VerifyArguments),
    /// Print the hash of a program's verifying key: 32 bytes in hexadecimal.
    Vkey(VkeyArguments),
    /// Show the settings of an orchestrator and the source of each value.
    Config(ConfigArguments),
    /// Print a generated page of the reference documentation, in Markdown.
    #[command(hide = true)]
    Reference {
        /// Page to print.
        page: ReferencePage,
    },
    /// Start two workers on this machine, prove a program on them, and stop them.
    Demo(DemoArguments),
    /// Find the worker settings that prove fastest on this machine. Takes several minutes per setting and uses all
    /// cores.
    Tune(TuneArguments),
    /// Print a shell completion script, for example: sp1d completions bash > /etc/bash_completion.d/sp1d
    Completions(CompletionsArguments),
    /// Write the manual pages, one per subcommand.
    Man(ManArguments),
    /// Check this machine, the workers of a worker list and a service, and suggest a fix for each problem.
    Doctor(DoctorArguments),
    /// Run a proof service: accept proof requests, queue them, and prove them on many workers. Requests survive
    /// restarts.
    Serve(ServeArguments),
    /// Show the status of a service.
    Status(ShowArguments),
    /// Watch a service, its workers and its proofs in this terminal.
    Top(TopArguments),
    /// List the proofs of a service.
    Proofs(ProofsArguments),
    /// List the workers of a service.
    Workers(ShowArguments),
    /// Submit a proof request to a service and print the proof's id.
    Submit(SubmitArguments),
    /// Wait until a proof of a service has ended.
    Wait(WaitArguments),
    /// Cancel a proof of a service.
    Cancel(ProofArguments),
    /// Download a finished proof from a service.
    Fetch(FetchArguments),
    /// Show the events of a proof of a service.
    Logs(LogsArguments),
    /// Explain the state of a proof of a service: what the proof waits for and which attempts failed.
    Explain(ExplainArguments),
    /// Drain a worker of a service: the worker finishes its tasks and gets no new ones.
    Drain(NamedWorkerArguments),
    /// Give new tasks to a drained worker of a service again.
    Resume(NamedWorkerArguments),
    /// Remove a worker from a service. Its tasks go to other workers.
    Forget(NamedWorkerArguments),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ReferencePage {
    Settings,
    Api,
}

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
    /// Number of prover processes, 1 to 64. They share the worker's connection and divide its cores.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_PROVERS)))]
    pub(crate) provers: u16,
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
    /// Stop when the parent process ends.
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
    #[command(flatten)]
    pub(crate) export: Export,
}

#[derive(Debug, Args)]
pub(crate) struct ProverArguments {
    #[arg(long)]
    pub(crate) threads: u16,
    #[arg(long)]
    pub(crate) parallel_shards: Option<u16>,
    #[arg(long, value_delimiter = ',')]
    pub(crate) pin: Vec<u16>,
}

/// Export of logs and traces.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// OpenTelemetry collector that gets the log lines and, from a service, a trace of each proof. Uses OTLP over gRPC
    /// [env: OTEL_EXPORTER_OTLP_ENDPOINT].
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
}

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
    pub(crate) input: Vec<Input>,
    /// Fail if the program needs more than this many cycles.
    #[arg(long, value_name = "CYCLES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) cycle_limit: Option<u64>,
    /// Fail after this many seconds.
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
    /// File to write the proof to.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Print the outcome as one JSON object, on the last line of stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Settings that can be given as flags. They take precedence over environment variables and the worker list's file.
#[derive(Debug, Args)]
pub(crate) struct PoolArguments {
    /// Worker list: a file with a JSON array of addresses, where "local" means this process, or with an object that
    /// contains such an array as "workers" [env: SP1_DISTRIBUTED_WORKERS] [default: distributed.json].
    #[arg(long, value_name = "FILE")]
    pub(crate) workers: Option<PathBuf>,
    /// Shards that a worker may hold at the same time for each of its provers, 1 to 128. Use 1 for the least memory
    /// [env: SHARD_BATCH_SIZE] [default: 2].
    #[arg(long, value_name = "N")]
    pub(crate) shard_batch_size: Option<u32>,
    /// `spread` distributes the work over all workers. `pack` uses the fewest workers that finish as early [env:
    /// SP1_DISTRIBUTED_PLACEMENT] [default: spread].
    #[arg(long, value_name = "POLICY")]
    pub(crate) placement: Option<Placement>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// Shell to write the script for.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Folder to write the pages to, for example /usr/local/share/man/man1.
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// Folder for all persistent data: database, programs, inputs and results. It is created if it does not exist.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: PathBuf,
    /// Address of the HTTP interface, as HOST:PORT. There is no authentication: every client that can reach it can
    /// submit proofs.
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN)]
    pub(crate) listen: Address,
    /// Address on which workers can join (`sp1d worker --join`), as HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    pub(crate) join_listen: Option<Address>,
    /// Workers that may join: addresses, ranges like 10.0.0.0/8 and host names, separated by commas, or `any`.
    #[arg(long, value_name = "ADDR[,ADDR…]", default_value = "any", requires = "join_listen")]
    pub(crate) join_from: Filter,
    /// Proofs that run at the same time, 1 to 256. Each executes its own program [default: one per 4 GB of memory, at
    /// most 16].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) parallel_proofs: Option<u16>,
    /// Maximum number of queued proofs.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) max_queue: u64,
    /// Days to keep a proof after it has ended.
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub(crate) keep: u32,
    /// Disk space for the result cache, in megabytes; 0 disables the cache. Restarted and repeated proofs reuse its
    /// results.
    #[arg(long, value_name = "MB", default_value_t = 20_000)]
    pub(crate) memo: u64,
    /// Additional host names that clients may use while the service listens on the loopback interface, for example the
    /// name of your proxy. `localhost` and IP addresses are always allowed.
    #[arg(long, value_name = "NAME[,NAME…]", value_delimiter = ',')]
    pub(crate) names: Vec<String>,
    /// Refuse new proofs, programs and inputs when less than this much disk space is free, in megabytes.
    #[arg(long, value_name = "MB", default_value_t = 1000)]
    pub(crate) min_free: u64,
    #[command(flatten)]
    pub(crate) export: Export,
}

/// Maximum number of provers of a worker.
pub(crate) const MOST_PROVERS: u16 = 64;

/// Default address of a service.
const DEFAULT_LISTEN: &str = "127.0.0.1:8090";

/// Connection to a service.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    /// URL of the service.
    #[arg(long, value_name = "URL", env = "SP1_DISTRIBUTED_URL", default_value = "http://127.0.0.1:8090")]
    pub(crate) url: String,
    /// Output format.
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: OutputForm,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct TopArguments {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Seconds between updates, 1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ProofsArguments {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Show only proofs in this state.
    #[arg(long, value_name = "STATE", value_parser = ["queued", "running", "done", "failed", "cancelled"])]
    pub(crate) state: Option<String>,
    /// Maximum number of proofs to show, 1 to 1000. The newest come first.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArguments {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) program: ProgramArguments,
    /// Kind of proof.
    #[arg(long, default_value = "core")]
    pub(crate) mode: Mode,
    /// Priority, from -100 to 100. Proofs with a higher priority start first.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// Text of your choice that identifies this request. Submitting the same request with the same text again returns
    /// the same proof.
    #[arg(long, value_name = "TEXT")]
    pub(crate) idempotency_key: Option<String>,
    /// Wait until the proof has ended.
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProofArguments {
    /// Id of the proof.
    #[arg(value_name = "PROOF")]
    pub(crate) proof: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArguments {
    #[command(flatten)]
    pub(crate) proof: ProofArguments,
    /// Stop waiting after this many seconds. The proof continues.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct FetchArguments {
    /// Id of the proof.
    #[arg(value_name = "PROOF")]
    pub(crate) proof: String,
    /// File to write the proof to.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    #[command(flatten)]
    pub(crate) proof: ProofArguments,
    /// Keep printing events until the proof has ended.
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// Id of a proof, or number of a task.
    #[arg(value_name = "PROOF|TASK")]
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// Check that this address, HOST:PORT, is free to listen on. Can be repeated.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<Address>,
    /// URL of a service to check.
    #[arg(long, value_name = "URL", env = "SP1_DISTRIBUTED_URL")]
    pub(crate) url: Option<String>,
    /// Output format.
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: OutputForm,
}

#[derive(Debug, Args)]
pub(crate) struct NamedWorkerArguments {
    /// Name or address of the worker.
    #[arg(value_name = "WORKER")]
    pub(crate) worker: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// Output format.
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
pub(crate) struct TuneArguments {
    /// Program file (ELF) to measure with [default: a block of Ethereum transactions].
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: Option<PathBuf>,
    /// File with the whole input: an SP1Stdin serialized with bincode.
    #[arg(long, value_name = "FILE", conflicts_with = "input", requires = "elf")]
    pub(crate) stdin: Option<PathBuf>,
    /// Input value. Repeat the flag for each value, in order, as for `sp1d prove`.
    #[arg(long, value_name = "KIND:VALUE", requires = "elf")]
    pub(crate) input: Vec<Input>,
    /// Measure only with this number of provers, 1 to 64.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_PROVERS)))]
    pub(crate) provers: Option<u16>,
    /// Measure only with this number of shards that each prover proves at the same time: 1 or 2.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2))]
    pub(crate) parallel_shards: Option<u16>,
    /// Measure the fastest setting with every smaller cut, even if smaller cuts are slower.
    #[arg(long)]
    pub(crate) every_cut: bool,
    /// Abandon a setting after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,
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
