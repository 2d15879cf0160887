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
    /// Prove for orchestrators that connect.
    Worker(WorkerArguments),
    /// Prove for the worker that started this process.
    #[command(hide = true)]
    Prover(ProverArguments),
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
    /// Print a page of the documentation that is made from the code, in Markdown.
    #[command(hide = true)]
    Reference {
        /// Which page.
        page: ReferencePage,
    },
    /// Start two workers here, prove a program on them, and stop them.
    Demo(DemoArguments),
    /// Find the settings of a worker that prove fastest on this machine. Takes some minutes for each setting, and all
    /// cores.
    Tune(TuneArguments),
    /// Print what a shell needs to complete this program's arguments, for example: sp1d completions bash >
    /// /etc/bash_completion.d/sp1d
    Completions(CompletionsArguments),
    /// Write manual pages, one for each subcommand.
    Man(ManArguments),
    /// Look at this machine, the workers of a list and a service, and say what to do about what is wrong.
    Doctor(DoctorArguments),
    /// Take requests for proofs and run them on many workers, over restarts.
    Serve(ServeArguments),
    /// Show the state of a service.
    Status(ShowArguments),
    /// Watch a service, its workers and its proofs on this terminal.
    Top(TopArguments),
    /// List the proofs of a service.
    Proofs(ProofsArguments),
    /// List the workers of a service.
    Workers(ShowArguments),
    /// Ask a service for a proof; prints its id.
    Submit(SubmitArguments),
    /// Wait for a proof of a service to end.
    Wait(WaitArguments),
    /// Cancel a proof of a service.
    Cancel(ProofArguments),
    /// Fetch a finished proof from a service.
    Fetch(FetchArguments),
    /// Show what has happened to a proof of a service.
    Logs(LogsArguments),
    /// Say why a proof of a service is where it is: what it waits for, and what was tried.
    Explain(ExplainArguments),
    /// Let a service's worker finish what it proves and give it nothing more.
    Drain(NamedWorkerArguments),
    /// Give tasks again to a service's worker that was drained.
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
    /// Where to listen, as HOST:PORT; an IPv6 address stands in brackets.
    #[arg(long, value_name = "ADDR", required_unless_present = "join")]
    pub(crate) listen: Option<Address>,
    /// Which orchestrators may connect: addresses, ranges like 10.0.0.0/8 and host names, separated by commas; `any`
    /// for all.
    #[arg(long, value_name = "ADDR[,ADDR…]", required_unless_present = "join")]
    pub(crate) orchestrator: Option<Filter>,
    /// Call this orchestrator instead, where it takes workers (`sp1d serve --join-listen`), and again whenever the
    /// connection is lost.
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["listen", "orchestrator"])]
    pub(crate) join: Option<Address>,
    /// Prover processes of this worker, which share its connection. Each has its share of the cores.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_PROVERS)))]
    pub(crate) provers: u16,
    /// Threads of each prover [default: its share of the cores that the worker may use].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Name that orchestrators show [default: host name and port].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Shards that each prover proves at the same time [default: 1 with one thread, else 2].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) parallel_shards: Option<u16>,
    /// Cores to run on, separated by commas, like 0 or 0,1 [default: all]. The provers divide them.
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    pub(crate) pin: Vec<u16>,
    /// Wait up to this long for enough free memory instead of ending with an error; without a value, 24 hours.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "86400", default_value = "0")]
    pub(crate) wait_memory: u64,
    /// End when the process that started it ends.
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

/// Where telemetry goes.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Send log lines, and from a service also a trace of each proof, to this OpenTelemetry collector, by OTLP over
    /// gRPC [env: OTEL_EXPORTER_OTLP_ENDPOINT].
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ProgramArguments {
    /// The program, as `cargo prove build` makes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: PathBuf,
    /// Its input: a serialised SP1Stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub(crate) stdin: Option<PathBuf>,
    /// Its input, a value at a time and in order: u32:N, u64:N, str:TEXT (read with `io::read`), hex:BYTES, file:PATH
    /// (read with `io::read_vec`).
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
    /// The list of workers: a JSON array of addresses, of which "local" is this process, or an object with such an
    /// array as "workers" [env: SP1_DISTRIBUTED_WORKERS] [default: distributed.json].
    #[arg(long, value_name = "FILE")]
    pub(crate) workers: Option<PathBuf>,
    /// Shards that a worker may hold at a time for each of its provers, 1 for the least memory [env: SHARD_BATCH_SIZE]
    /// [default: 2].
    #[arg(long, value_name = "N")]
    pub(crate) shard_batch_size: Option<u32>,
    /// `spread` the work over all workers, or `pack` it on the fewest workers that finish as early [env:
    /// SP1_DISTRIBUTED_PLACEMENT] [default: spread].
    #[arg(long, value_name = "POLICY")]
    pub(crate) placement: Option<Placement>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// Which shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Where they go, for example /usr/local/share/man/man1.
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// Folder with everything that must outlive the process: database, programs, inputs, results. Made where there is
    /// none.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: PathBuf,
    /// Where the interface listens, as HOST:PORT. Whoever reaches it may ask for proofs.
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN)]
    pub(crate) listen: Address,
    /// Where workers come that join by themselves (`sp1d worker --join`).
    #[arg(long, value_name = "ADDR")]
    pub(crate) join_listen: Option<Address>,
    /// Which workers may join: addresses, ranges and host names, separated by commas; `any` for all.
    #[arg(long, value_name = "ADDR[,ADDR…]", default_value = "any", requires = "join_listen")]
    pub(crate) join_from: Filter,
    /// Proofs that run at the same time, each with an execution of its own [default: by the machine's memory].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) parallel_proofs: Option<u16>,
    /// Proofs that may wait.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) max_queue: u64,
    /// Days that proofs are kept after they ended.
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub(crate) keep: u32,
    /// Disk space for results of finished tasks, in megabytes; 0 keeps none. Restarted and repeated proofs use them.
    #[arg(long, value_name = "MB", default_value_t = 20_000)]
    pub(crate) memo: u64,
    /// Host names that requests may use when the service listens on the loopback interface, for example that of your
    /// proxy. `localhost` and IP addresses are always allowed.
    #[arg(long, value_name = "NAME[,NAME…]", value_delimiter = ',')]
    pub(crate) names: Vec<String>,
    /// Free disk below which nothing new is accepted, in megabytes.
    #[arg(long, value_name = "MB", default_value_t = 1000)]
    pub(crate) min_free: u64,
    #[command(flatten)]
    pub(crate) export: Export,
}

/// Provers of a worker.
pub(crate) const MOST_PROVERS: u16 = 64;

/// Where a service listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:8090";

/// Where the service is.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    /// The service's interface.
    #[arg(long, value_name = "URL", env = "SP1_DISTRIBUTED_URL", default_value = "http://127.0.0.1:8090")]
    pub(crate) url: String,
    /// Form of the output.
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
    /// Seconds between two updates.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ProofsArguments {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Only those in this state.
    #[arg(long, value_name = "STATE", value_parser = ["queued", "running", "done", "failed", "cancelled"])]
    pub(crate) state: Option<String>,
    /// Show at most N proofs, the newest first.
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
    /// A text of your choice; the same text again is the same request.
    #[arg(long, value_name = "TEXT")]
    pub(crate) idempotency_key: Option<String>,
    /// Wait until the proof has ended.
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProofArguments {
    /// The proof's id.
    #[arg(value_name = "PROOF")]
    pub(crate) proof: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArguments {
    #[command(flatten)]
    pub(crate) proof: ProofArguments,
    /// Give up waiting after this many seconds; the proof goes on.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct FetchArguments {
    /// The proof's id.
    #[arg(value_name = "PROOF")]
    pub(crate) proof: String,
    /// Where it goes.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    #[command(flatten)]
    pub(crate) proof: ProofArguments,
    /// Go on until the proof has ended.
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The proof's id, or the number of a task.
    #[arg(value_name = "PROOF|TASK")]
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// An address to listen on that should be free, as HOST:PORT; may be given again.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<Address>,
    /// A service to look at.
    #[arg(long, value_name = "URL", env = "SP1_DISTRIBUTED_URL")]
    pub(crate) url: Option<String>,
    /// Form of the output.
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: OutputForm,
}

#[derive(Debug, Args)]
pub(crate) struct NamedWorkerArguments {
    /// The worker's name or address.
    #[arg(value_name = "WORKER")]
    pub(crate) worker: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
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
pub(crate) struct TuneArguments {
    /// The program to measure with [default: a block of Ethereum transactions].
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: Option<PathBuf>,
    /// Its input: a serialised SP1Stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "input", requires = "elf")]
    pub(crate) stdin: Option<PathBuf>,
    /// Its input, a value at a time and in order, as for `sp1d prove`.
    #[arg(long, value_name = "KIND:VALUE", requires = "elf")]
    pub(crate) input: Vec<Input>,
    /// Measure only with this number of provers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_PROVERS)))]
    pub(crate) provers: Option<u16>,
    /// Measure only with this number of shards inside each prover at a time: 1 or 2.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2))]
    pub(crate) parallel_shards: Option<u16>,
    /// Measure the fastest setting with every smaller cut too, also when these are slower.
    #[arg(long)]
    pub(crate) every_cut: bool,
    /// Give a setting up after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,
    /// Form of the output.
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: OutputForm,
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
