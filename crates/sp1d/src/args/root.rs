//! The command line as a whole: global flags and subcommands.

use super::{
    local::{ConfigArguments, DemoArguments, ExecuteArguments, ProveArguments, VerifyArguments, VkeyArguments},
    logging::LogArguments,
    provers::{ProverArguments, TuneArguments, WorkerArguments},
    remote::{
        ExplainArguments, FetchArguments, LogsArguments, NamedWorkerArguments, ProofArguments, ProofsArguments,
        ShowArguments, SubmitArguments, TopArguments, WaitArguments,
    },
    serve::ServeArguments,
    tools::{CompletionsArguments, DoctorArguments, ManArguments, ReferencePage},
};
use crate::exit;
use clap::{Parser, Subcommand};

/// Prove SP1 programs on many machines.
#[derive(Debug, Parser)]
#[command(name = "sp1d", version, after_help = exit::HELP)]
pub(crate) struct CliArguments {
    #[command(flatten)]
    pub(crate) log: LogArguments,
    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
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
    /// Drain a worker of a service: the worker finishes the tasks that it has started and gets no new ones.
    Drain(NamedWorkerArguments),
    /// Give new tasks to a drained worker of a service again.
    Resume(NamedWorkerArguments),
    /// Remove a worker from a service. Its tasks go to other workers.
    Forget(NamedWorkerArguments),
}
