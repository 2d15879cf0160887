//! Arguments of the subcommands that check the setup or generate documentation.

use super::pool::PoolArguments;
use crate::args::shared::AccessArguments;
use clap::{Args, ValueEnum};
use sp1d_protocol::Address;

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// Check that this address, HOST:PORT, is free to listen on. Can be repeated.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<Address>,
    /// URL of a service to check.
    #[arg(long, value_name = "URL", env = "SP1_DISTRIBUTED_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) access: AccessArguments,
    /// Print the findings as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ReferencePage {
    Settings,
    Api,
    Openapi,
    Limits,
}
