//! Command-line arguments. The doc comments in this folder are the text of `--help` and of the manual pages. This
//! folder does not know what the subcommands do.

mod local;
mod logging;
mod provers;
mod remote;
mod root;
mod serve;
mod shared;
mod tools;

pub(crate) use local::{
    ConfigArguments, DemoArguments, ExecuteArguments, ProveArguments, VerifyArguments, VkeyArguments,
};
pub(crate) use logging::{LogArguments, LogFormat};
pub(crate) use provers::{MAX_PROVERS, ProverArguments, TuneArguments, WorkerArguments};
pub(crate) use remote::{
    ExplainArguments, FetchArguments, LogsArguments, NamedWorkerArguments, ProofArguments, ProofsArguments,
    ShowArguments, SubmitArguments, TopArguments, WaitArguments,
};
pub(crate) use root::{CliArguments, CliCommand};
pub(crate) use serve::ServeArguments;
pub(crate) use shared::{OutputForm, PoolArguments, RemoteArguments};
pub(crate) use tools::{CompletionsArguments, DoctorArguments, ManArguments, ReferencePage};
