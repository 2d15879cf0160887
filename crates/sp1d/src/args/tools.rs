//! Arguments of the subcommands that check the setup or generate documentation.

use super::shared::{OutputForm, PoolArguments};
use clap::{Args, ValueEnum};
use sp1d_protocol::Address;
use std::path::PathBuf;

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

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ReferencePage {
    Settings,
    Api,
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
