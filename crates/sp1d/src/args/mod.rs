//! Command-line arguments. The doc comments in this folder are the text of `--help` and of the manual pages. This
//! folder does not know what the subcommands do.

#[cfg(all(test, feature = "prover"))]
mod documented;
mod environment;
mod logging;
mod manual;
#[cfg(feature = "prover")]
mod prover;
mod remote;
mod root;
mod shared;
mod verify;

pub(crate) use environment::parse;
pub(crate) use logging::{LogArguments, LogFormat};
pub(crate) use manual::{CompletionsArguments, ManArguments};
#[cfg(feature = "prover")]
pub(crate) use prover::{
    ConfigArguments, DemoArguments, DoctorArguments, ExecuteArguments, KeysCommand, KeysFetchArguments,
    KeysServeArguments, MAX_PROVERS, PoolArguments, ProveArguments, ProverArguments, ReferencePage, RestoreArguments,
    ServeArguments, Sp1Command, TokensCommand, TokensQuotaArguments, TuneArguments, VkeyArguments, WorkerArguments,
};
pub(crate) use remote::{
    ExplainArguments, FetchArguments, LogsArguments, NamedWorkerArguments, ProofArguments, ProofsArguments,
    ServiceCommand, ShowArguments, SubmitArguments, TopArguments, WaitArguments,
};
pub(crate) use root::{CliArguments, CliCommand};
pub(crate) use shared::RemoteArguments;
pub(crate) use verify::{KeyArguments, KeySource, VerifyArguments};
