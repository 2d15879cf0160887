//! The subcommands that need SP1's prover or executor.

use super::{
    keys::KeysCommand,
    local::{ConfigArguments, DemoArguments, ExecuteArguments, ProveArguments, VkeyArguments},
    provers::{ProverArguments, TuneArguments, WorkerArguments},
    serve::{RestoreArguments, ServeArguments},
    tokens::TokensCommand,
    tools::{DoctorArguments, ReferencePage},
};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Sp1Command {
    /// Prove tasks for an orchestrator.
    Worker(WorkerArguments),
    /// Prove for the worker that started this process.
    #[command(hide = true)]
    Prover(ProverArguments),
    /// Prove a program on the workers of a worker list.
    Prove(ProveArguments),
    /// Execute a program without proving it.
    Execute(ExecuteArguments),
    /// Print the hash of a program's verifying key, 32 bytes in hexadecimal, or write the key to a file.
    Vkey(VkeyArguments),
    /// Show the settings of an orchestrator and the source of each value.
    Config(ConfigArguments),
    /// Print a generated page of the reference documentation, in Markdown.
    #[command(hide = true)]
    Reference {
        /// Page to print.
        page: ReferencePage,
    },
    /// Start two workers on this machine, or one if it has too little memory for two, prove a program, and stop them.
    Demo(DemoArguments),
    /// Find the worker settings that prove fastest on this machine. Takes several minutes per setting and uses all
    /// cores.
    Tune(TuneArguments),
    /// Check this machine, the workers of a worker list and a service, and suggest a fix for each problem. The exit
    /// code is 0 if no check failed, 7 if a check of this machine failed, else 2 if the worker list or a setting cannot
    /// be used, else 4 if a worker or the service cannot be reached or used.
    Doctor(DoctorArguments),
    /// Run a proof service: accept proof requests, queue them, and prove them on many workers. Requests survive
    /// restarts.
    Serve(Box<ServeArguments>),
    /// Restore the state folder of a service from its archive.
    Restore(RestoreArguments),
    /// Create the certificates with which orchestrators and workers know each other.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Create, list and revoke the tokens with which clients show a service who they are.
    Tokens {
        #[command(subcommand)]
        command: TokensCommand,
    },
}
