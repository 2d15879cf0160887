//! Arguments of the proof service.

use super::{export::ExportArguments, pool::PoolArguments};
use clap::Args;
use sp1d_protocol::{Address, Filter};
use std::path::PathBuf;

/// Default address of a service.
const DEFAULT_LISTEN: &str = "127.0.0.1:8090";

/// Default for the cycles of a program: several hours on a pool of a thousand cores.
const DEFAULT_MAX_CYCLES: u64 = 1_000_000_000_000;

/// Default for the hours of a proof: a week.
const DEFAULT_MAX_HOURS: u32 = 7 * 24;

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) pool: PoolArguments,
    /// Folder for all persistent data: database, programs, inputs and results. It is created if it does not exist.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: PathBuf,
    /// Address of the HTTP interface, as HOST:PORT. Until the first token is created with `sp1d tokens create`, every
    /// client that can reach it can submit, read and cancel proofs.
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN)]
    pub(crate) listen: Address,
    /// File with a certificate for HTTPS at `--listen` and `--hosted`, and with those of its authorities after it
    /// (PEM), for example `fullchain.pem` of certbot. Workers still see the identity of `--tls`. A renewed certificate
    /// is used without a restart [default: the certificate of `--tls`].
    #[arg(long, value_name = "FILE", requires = "https_key")]
    pub(crate) https_certificate: Option<PathBuf>,
    /// File with the key of `--https-certificate` (PEM, without a password), for example `privkey.pem` of certbot.
    #[arg(long, value_name = "FILE", requires = "https_certificate")]
    pub(crate) https_key: Option<PathBuf>,
    /// Allow ports without TLS for other machines. Programs, inputs and proofs can then be read and changed on the way.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Refuse requests without a token, also before the first token is created. Once one was created, the service
    /// requires tokens also without this flag.
    #[arg(long)]
    pub(crate) require_tokens: bool,
    /// Address on which workers can join (`sp1d worker --join`), as HOST:PORT. Needs `--join-from`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) join_listen: Option<Address>,
    /// Workers that may join: addresses, ranges like 10.0.0.0/8 and host names, separated by commas, or `any`. A worker
    /// sees parts of the programs and inputs that are proven.
    #[arg(long, value_name = "ADDR[,ADDR…]", requires = "join_listen")]
    pub(crate) join_from: Option<Filter>,
    /// Address for programs that are built against plain sp1-sdk and run with `SP1_PROVER=hosted`, as HOST:PORT. Such a
    /// program sets `NETWORK_RPC_URL` to this address. Needs `--hosted-signers`.
    #[arg(long, value_name = "ADDR", requires = "hosted_signers")]
    pub(crate) hosted: Option<Address>,
    /// File with the addresses that may ask for proofs at `--hosted`, one on each line, or only the word `any`. A
    /// tenant may follow after a space, and then the word `trusted-only`, for proofs on trusted workers only. The
    /// address of a program belongs to its NETWORK_PRIVATE_KEY. Changes take effect within 4 s, and at once on SIGHUP.
    #[arg(long, value_name = "FILE", requires = "hosted")]
    pub(crate) hosted_signers: Option<PathBuf>,
    /// How programs reach `--hosted` if a proxy is in front of it, for example `https://prover.example.org`
    /// [default: http and the address that the program uses].
    #[arg(long, value_name = "URL", requires = "hosted")]
    pub(crate) hosted_url: Option<String>,
    /// Proofs that run at the same time, 1 to 256. Each executes its own program [default: one per 4 GB of memory, at
    /// most 16].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) parallel_proofs: Option<u16>,
    /// Maximum number of cycles of a program; 0 for no limit. A request can set a lower limit.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CYCLES)]
    pub(crate) max_cycles: u64,
    /// Hours after which a running proof fails; 0 for no limit. A request can set a lower limit.
    #[arg(long, value_name = "HOURS", default_value_t = DEFAULT_MAX_HOURS)]
    pub(crate) max_hours: u32,
    /// Maximum number of queued proofs.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) max_queue: u64,
    /// Days to keep a proof after it has ended.
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub(crate) keep: u32,
    /// Disk space for the result cache, in megabytes; 0 disables the cache. Restarted and repeated proofs reuse its
    /// results.
    #[arg(long, value_name = "MB", default_value_t = 20_000)]
    pub(crate) result_cache: u64,
    /// Let proofs of one tenant reuse cached results of another. A tenant can then measure whether another one has
    /// proven the same.
    #[arg(long)]
    pub(crate) share_results: bool,
    /// Archive finished proofs, programs, inputs and the database to this folder or `s3://BUCKET/PREFIX`. After the
    /// loss of the state folder, `sp1d restore` restores it. An object store takes its settings from the AWS_*
    /// variables.
    #[arg(long, value_name = "PLACE")]
    pub(crate) archive: Option<String>,
    /// Additional host names that clients may use while the service listens on the loopback interface, for example the
    /// name of your proxy. `localhost` and IP addresses are always allowed.
    #[arg(long, value_name = "NAME[,NAME…]", value_delimiter = ',')]
    pub(crate) allowed_hosts: Vec<String>,
    /// Refuse new proofs, programs and inputs when less than this much disk space is free, in megabytes.
    #[arg(long, value_name = "MB", default_value_t = 1000)]
    pub(crate) min_free: u64,
    /// Maximum number of open HTTP connections, 1 to 65536. Keep it well below the number of files that the process may
    /// open (`ulimit -n`).
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) max_connections: u32,
    /// Maximum number of open HTTP connections of one client, 1 to 65536: an IPv4 address or a /64 network of IPv6
    /// addresses. Raise it if a proxy connects for all clients.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) max_connections_per_client: u32,
    #[command(flatten)]
    pub(crate) export: ExportArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// The archive: the folder or `s3://BUCKET/PREFIX` of `sp1d serve --archive`.
    #[arg(long, value_name = "PLACE")]
    pub(crate) archive: String,
    /// State folder to restore. It must be empty or missing.
    #[arg(long, value_name = "FOLDER", required_unless_present = "list")]
    pub(crate) state: Option<PathBuf>,
    /// Name of the copy to restore, as `--list` prints it [default: the latest].
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    pub(crate) copy: Option<String>,
    /// Restore the rest if files are missing in the archive.
    #[arg(long, conflicts_with = "list")]
    pub(crate) incomplete: bool,
    /// Print the copies in the archive, the oldest first, and restore nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Print the outcome as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
