//! Arguments that several subcommands have.

use crate::files::InputArgument;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use sp1d_client::{Client, ClientError, ClientSettings};
use sp1d_model::ProofMode;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct ProgramArguments {
    /// Program file (ELF), as built by `cargo prove build` or `guests/build.sh`.
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: PathBuf,
    /// File with the whole input: an SP1Stdin serialized with bincode.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub(crate) stdin: Option<PathBuf>,
    /// Input value. Repeat the flag for each value, in order: u32:N, u64:N or str:TEXT (read with `io::read`),
    /// hex:BYTES or file:PATH (read with `io::read_vec`).
    #[arg(long, value_name = "KIND:VALUE")]
    pub(crate) input: Vec<InputArgument>,
    /// Fail if the program needs more than this many cycles.
    #[arg(long, value_name = "CYCLES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) cycle_limit: Option<u64>,
    /// Fail after this many seconds. For `sp1d prove`, the wait for the first worker counts too.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,
}

/// Limits of a proof that an execution without proof does not have.
#[derive(Debug, Args)]
pub(crate) struct ProofLimitArguments {
    /// Fail if the program needs more than this much gas. The program is then executed once more to count its gas,
    /// before proving starts. `sp1d execute` prints the gas of a run.
    #[arg(long, value_name = "GAS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) gas_limit: Option<u64>,
}

/// Connection to a service.
#[derive(Debug, Args)]
pub(crate) struct RemoteArguments {
    /// URL of the service: `http` or `https`, with a path if a proxy offers the service under a prefix. A user name and
    /// a password in it are for a proxy.
    #[arg(
        long,
        value_name = "URL",
        env = "SP1_DISTRIBUTED_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8090"
    )]
    url: String,
    #[command(flatten)]
    access: AccessArguments,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl RemoteArguments {
    /// Returns a client of the service.
    pub(crate) fn client(&self) -> Result<Client, ClientError> {
        self.access.client(&self.url)
    }
}

/// What a client trusts, and how it identifies itself.
#[derive(Debug, Args)]
pub(crate) struct AccessArguments {
    /// File with the certificates (PEM) of the only authorities to trust for `https` [default: those of the system].
    #[arg(long = "ca", value_name = "FILE", env = "SP1_DISTRIBUTED_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// File with a token of the service, or of a proxy in front of it, sent as `Authorization: Bearer`.
    #[arg(long, value_name = "FILE", env = "SP1_DISTRIBUTED_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

impl AccessArguments {
    /// Returns a client of the service at `url`.
    pub(crate) fn client(&self, url: &str) -> Result<Client, ClientError> {
        let (ca_file, token_file) = (self.ca_file.clone(), self.token_file.clone());
        Client::with(&ClientSettings { url: url.parse()?, ca_file, token_file })
    }
}

/// Returns a parser for the names of proof modes.
pub(super) fn mode_parser() -> impl TypedValueParser<Value = ProofMode> {
    PossibleValuesParser::new(ProofMode::ALL.map(ProofMode::name)).map(|name| {
        let named = ProofMode::ALL.into_iter().find(|mode| mode.name() == name);
        named.expect("the parser accepts only these names")
    })
}
