//! Arguments of the subcommands that talk to a service.

use super::shared::{ProgramArguments, ProofLimitArguments, RemoteArguments, mode_parser};
use clap::{Args, Subcommand};
use sp1d_model::ProofMode;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
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
    /// Delete an ended proof of a service with its data: the proof, its events, and its input unless another proof uses
    /// it.
    Delete(ProofArguments),
    /// Download a finished proof from a service.
    Fetch(FetchArguments),
    /// Show the events of a proof of a service.
    Logs(LogsArguments),
    /// Explain the state of a proof of a service: what the proof waits for and which attempts failed.
    Explain(ExplainArguments),
    /// Drain a worker of a service: the worker finishes the tasks that it has started and gets no new ones.
    Drain(NamedWorkerArguments),
    /// Give new tasks to a drained worker of a service again.
    Resume(NamedWorkerArguments),
    /// Remove a worker from a service. Its tasks go to other workers.
    Forget(NamedWorkerArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    #[command(flatten)]
    pub(crate) remote: RemoteArguments,
}

#[derive(Debug, Args)]
pub(crate) struct TopArguments {
    #[command(flatten)]
    pub(crate) remote: RemoteArguments,
    /// Seconds between updates, 1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ProofsArguments {
    #[command(flatten)]
    pub(crate) remote: RemoteArguments,
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
    pub(crate) remote: RemoteArguments,
    #[command(flatten)]
    pub(crate) program: ProgramArguments,
    #[command(flatten)]
    pub(crate) limits: ProofLimitArguments,
    /// Kind of proof.
    #[arg(long, default_value = "core", value_parser = mode_parser())]
    pub(crate) mode: ProofMode,
    /// Priority, from -100 to 100. Proofs with a higher priority start first.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// Give tasks of this proof only to trusted workers: those with a certificate of `sp1d keys issue --trusted`.
    #[arg(long)]
    pub(crate) trusted_only: bool,
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
    pub(crate) remote: RemoteArguments,
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
    pub(crate) remote: RemoteArguments,
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
    pub(crate) remote: RemoteArguments,
}

#[derive(Debug, Args)]
pub(crate) struct NamedWorkerArguments {
    /// Name or address of the worker.
    #[arg(value_name = "WORKER")]
    pub(crate) worker: String,
    #[command(flatten)]
    pub(crate) remote: RemoteArguments,
}
