//! Arguments of `sp1d keys`.

use clap::{Args, Subcommand};
use sp1d_identity::{JoinToken, PeerName, PeerRole};
use sp1d_protocol::Address;
use std::path::PathBuf;

/// Default for the days of a certificate: a year.
const DEFAULT_DAYS: u32 = 365;

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a private certificate authority, and the identity of an orchestrator: the file orchestrator.pem.
    Init(KeysInitArguments),
    /// Create an identity: one file, NAME.pem, for `--tls` on its machine. Keep it secret.
    Issue(KeysIssueArguments),
    /// Renew an identity: replace NAME.pem by one with a new key, and the same role, group, trust and hosts. Copy it to
    /// its machine, which notices it within a second.
    Renew(KeysRenewArguments),
    /// Revoke all certificates of a name. Copy the changed file `revoked` beside the identities of the other machines;
    /// they notice it within a second.
    Revoke(KeysRevokeArguments),
    /// Print a token with which a new machine fetches its identity once (`sp1d keys fetch`). The token is a secret.
    JoinToken(KeysJoinTokenArguments),
    /// Give machines with tokens their identities. Run it while machines are added.
    Serve(KeysServeArguments),
    /// Fetch the identity of this machine with a token. The connection is encrypted, and only the authority of the
    /// token is trusted.
    Fetch(KeysFetchArguments),
}

#[derive(Debug, Args)]
pub(crate) struct KeysJoinTokenArguments {
    /// Name of the new machine, at most 63 lower-case letters, digits, dots, hyphens and underscores.
    #[arg(value_name = "NAME")]
    pub(crate) name: PeerName,
    /// Operator of the machine, as for `sp1d keys issue`.
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<PeerName>,
    /// What the machine does: `worker` or `orchestrator`.
    #[arg(long, value_name = "ROLE", default_value = "worker")]
    pub(crate) role: PeerRole,
    /// The worker may get the tasks of proofs that are only for trusted workers (`--trusted-only`).
    #[arg(long)]
    pub(crate) trusted: bool,
    /// Minutes that the token is valid, 1 to 10080 (a week).
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub(crate) minutes: u32,
    /// Folder of the authority, as given to `sp1d keys init`.
    #[arg(long, value_name = "FOLDER", default_value = "keys")]
    pub(crate) keys: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct KeysServeArguments {
    /// Address to listen on, as HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Address,
    /// Folder of the authority, as given to `sp1d keys init`.
    #[arg(long, value_name = "FOLDER", default_value = "keys")]
    pub(crate) keys: PathBuf,
    /// Days that the certificates are valid, 1 to 3650.
    #[arg(long, value_name = "DAYS", default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct KeysFetchArguments {
    /// Address of `sp1d keys serve`, as HOST:PORT.
    #[arg(value_name = "ADDR")]
    pub(crate) from: Address,
    /// New file for the identity.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The token. Other users of the machine can see arguments, and not this variable.
    #[arg(long, value_name = "TOKEN", env = "SP1D_JOIN_TOKEN", hide_env_values = true)]
    pub(crate) token: JoinToken,
}

#[derive(Debug, Args)]
pub(crate) struct KeysInitArguments {
    /// Folder for the authority. It is created if it does not exist. Its file ca.key signs certificates: its owner
    /// can pose as any machine.
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Host names and IP addresses under which clients reach the service over HTTPS, besides those of the loopback
    /// interface.
    #[arg(long, value_name = "NAME[,NAME…]", value_delimiter = ',')]
    pub(crate) hosts: Vec<String>,
    /// Days that the certificate of the orchestrator is valid, 1 to 3650.
    #[arg(long, value_name = "DAYS", default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct KeysIssueArguments {
    /// Name of the machine, at most 63 lower-case letters, digits, dots, hyphens and underscores.
    #[arg(value_name = "NAME")]
    pub(crate) name: PeerName,
    /// Operator of the machine. Workers of one group do not confirm each other's claims, and a new one starts with the
    /// faults of the others [default: the machine is independent of all others].
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<PeerName>,
    /// What the machine does: `worker` or `orchestrator`.
    #[arg(long, value_name = "ROLE", default_value = "worker")]
    pub(crate) role: PeerRole,
    /// The worker may get the tasks of proofs that are only for trusted workers (`--trusted-only`).
    #[arg(long)]
    pub(crate) trusted: bool,
    /// Folder of the authority, as given to `sp1d keys init`.
    #[arg(long, value_name = "FOLDER", default_value = "keys")]
    pub(crate) keys: PathBuf,
    /// Host names and IP addresses under which clients reach the machine over HTTPS.
    #[arg(long, value_name = "NAME[,NAME…]", value_delimiter = ',')]
    pub(crate) hosts: Vec<String>,
    /// Days that the certificate is valid, 1 to 3650.
    #[arg(long, value_name = "DAYS", default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct KeysRenewArguments {
    /// Name of the machine.
    #[arg(value_name = "NAME")]
    pub(crate) name: PeerName,
    /// Folder of the authority, as given to `sp1d keys init`.
    #[arg(long, value_name = "FOLDER", default_value = "keys")]
    pub(crate) keys: PathBuf,
    /// Days that the certificate is valid, 1 to 3650.
    #[arg(long, value_name = "DAYS", default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct KeysRevokeArguments {
    /// Name whose certificates are revoked.
    #[arg(value_name = "NAME")]
    pub(crate) name: PeerName,
    /// Folder of the authority, as given to `sp1d keys init`.
    #[arg(long, value_name = "FOLDER", default_value = "keys")]
    pub(crate) keys: PathBuf,
}
