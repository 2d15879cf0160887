//! Arguments of the subcommands that need SP1's prover or executor.

mod command;
mod export;
mod keys;
mod local;
mod pool;
mod provers;
mod serve;
mod tokens;
mod tools;

pub(crate) use command::Sp1Command;
pub(crate) use keys::{KeysCommand, KeysFetchArguments, KeysServeArguments};
pub(crate) use local::{ConfigArguments, DemoArguments, ExecuteArguments, ProveArguments, VkeyArguments};
pub(crate) use pool::PoolArguments;
pub(crate) use provers::{MAX_PROVERS, ProverArguments, TuneArguments, WorkerArguments};
pub(crate) use serve::{RestoreArguments, ServeArguments};
pub(crate) use tokens::{TokensCommand, TokensQuotaArguments};
pub(crate) use tools::{DoctorArguments, ReferencePage};
