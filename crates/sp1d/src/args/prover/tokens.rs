//! Arguments of `sp1d tokens`.

use clap::{Args, Subcommand};
use sp1d_service::{ApiTokenName, TenantName, TokenRole};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Create a token and print it. It is shown only once. From the first token on, the service refuses requests
    /// without a token.
    Create(TokensCreateArguments),
    /// List the tokens, without their secrets.
    List(TokensListArguments),
    /// Revoke a token. The service refuses it from its next request on.
    Revoke(TokensRevokeArguments),
    /// Set what a tenant may use, in place of its earlier quota. Without options, only the limits of the service count.
    Quota(TokensQuotaArguments),
    /// List the quotas of tenants.
    Quotas(TokensListArguments),
    /// Remove all tokens, and let the service accept requests without a token again.
    Disable(TokensDisableArguments),
}

#[derive(Debug, Args)]
pub(crate) struct TokensStateArguments {
    /// State folder of the service, which may be running. Run the command as the user of the service.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct TokensCreateArguments {
    /// Name of the token: who or what uses it. At most 63 lower-case letters, digits, dots, hyphens and underscores.
    #[arg(value_name = "NAME")]
    pub(crate) name: ApiTokenName,
    #[command(flatten)]
    pub(crate) state: TokensStateArguments,
    /// Tenant whose programs and proofs the token can use. Tenants see nothing of each other.
    #[arg(long, value_name = "TENANT", default_value_t)]
    pub(crate) tenant: TenantName,
    /// What the token permits: `read`, `submit`, `operate` (workers) and `admin` (all of it, for all tenants).
    #[arg(long, value_name = "ROLE[,ROLE…]", value_delimiter = ',', default_value = "read,submit")]
    pub(crate) roles: Vec<TokenRole>,
    /// Days that the token is valid, 1 to 3650.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct TokensListArguments {
    #[command(flatten)]
    pub(crate) state: TokensStateArguments,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokensRevokeArguments {
    /// Name of the token.
    #[arg(value_name = "NAME")]
    pub(crate) name: ApiTokenName,
    #[command(flatten)]
    pub(crate) state: TokensStateArguments,
}

#[derive(Debug, Args)]
pub(crate) struct TokensQuotaArguments {
    /// Tenant whose quota is set.
    #[arg(value_name = "TENANT")]
    pub(crate) tenant: TenantName,
    #[command(flatten)]
    pub(crate) state: TokensStateArguments,
    /// Maximum number of queued proofs.
    #[arg(long, value_name = "N")]
    pub(crate) max_queue: Option<u64>,
    /// Maximum number of proofs that run at the same time.
    #[arg(long, value_name = "N")]
    pub(crate) parallel_proofs: Option<u64>,
    /// Maximum number of cycles of a program.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_cycles: Option<u64>,
    /// Maximum size of programs, inputs and finished proofs together, in megabytes.
    #[arg(long, value_name = "MB")]
    pub(crate) max_disk: Option<u64>,
    /// Lowest priority of a proof, -100 to 100.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100..=100))]
    pub(crate) min_priority: Option<i32>,
    /// Highest priority of a proof, -100 to 100.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100..=100))]
    pub(crate) max_priority: Option<i32>,
    /// Days to keep a proof of the tenant after it has ended [default: those of `sp1d serve --keep`].
    #[arg(long, value_name = "DAYS")]
    pub(crate) keep: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct TokensDisableArguments {
    #[command(flatten)]
    pub(crate) state: TokensStateArguments,
}
