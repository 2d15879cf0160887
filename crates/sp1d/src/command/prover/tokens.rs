//! `sp1d tokens`: creates, lists and revokes the tokens of a service.

use crate::{
    args::{TokensCommand, TokensQuotaArguments},
    exit::{CliError, OTHER},
    terminal::print,
};
use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::json;
use sp1d_model::Moment;
use sp1d_service::{DatabaseError, NewApiToken, TenantQuota, TokenStore, TokenStoreError, TokenSummary};
use std::{path::Path, time::Duration};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn run(command: TokensCommand) -> Result<()> {
    // The command may create the database, which only the user of the service can read.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    match command {
        TokensCommand::Create(arguments) => {
            let valid = DAY * arguments.days;
            let roles = arguments.roles.into_iter().collect();
            let new = NewApiToken { name: arguments.name, tenant: arguments.tenant, roles, valid };
            let store = TokenStore::open_or_create(&arguments.state.state).map_err(code_of)?;
            let token = store.create(&new).map_err(code_of)?;
            print(&token.to_string())
        }
        TokensCommand::List(arguments) => {
            let tokens = open(&arguments.state.state)?.list().map_err(code_of)?;
            show(&tokens, arguments.json)
        }
        TokensCommand::Revoke(arguments) => {
            open(&arguments.state.state)?.revoke(&arguments.name).map_err(code_of)?;
            print(&format!("revoked {}", arguments.name))
        }
        TokensCommand::Quota(arguments) => {
            let quota = quota_of(&arguments)?;
            open(&arguments.state.state)?.set_quota(&arguments.tenant, &quota).map_err(code_of)?;
            print(&format!("set the quota of {}", arguments.tenant))
        }
        TokensCommand::Quotas(arguments) => {
            let quotas = open(&arguments.state.state)?.quotas().map_err(code_of)?;
            show_quotas(&quotas, arguments.json)
        }
        TokensCommand::Disable(arguments) => {
            open(&arguments.state.state)?.remove_all().map_err(code_of)?;
            print(
                "removed all tokens: the service accepts requests without a token, unless it was started with --require-tokens",
            )
        }
    }
}

fn open(state: &Path) -> Result<TokenStore> {
    Ok(TokenStore::open(state).map_err(code_of)?)
}

fn show(tokens: &[TokenSummary], is_json: bool) -> Result<()> {
    if is_json {
        let tokens: Vec<_> = tokens
            .iter()
            .map(|TokenSummary { name, tenant, roles, created, expires }| {
                let (tenant, roles) = (tenant.to_string(), roles.to_string());
                json!({ "name": name, "tenant": tenant, "roles": roles, "created": created, "expires": expires })
            })
            .collect();
        return print(&json!({ "tokens": tokens }).to_string());
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["name", "tenant", "roles", "created", "expires"]);
    for token in tokens {
        let TokenSummary { name, tenant, roles, created, expires } = token;
        let row = [name.clone(), tenant.to_string(), roles.to_string(), created.to_string()];
        table.add_row(row.into_iter().chain([expiry(*expires, Moment::now())]));
    }
    table.to_string().lines().try_for_each(print)
}

/// Returns the quota that the arguments set.
fn quota_of(arguments: &TokensQuotaArguments) -> Result<TenantQuota> {
    let (min_priority, max_priority) = (arguments.min_priority, arguments.max_priority);
    if let (Some(min), Some(max)) = (min_priority, max_priority)
        && min > max
    {
        let text = format!(
            "no priority is between {min} and {max}\nhint: pass a value of `--min-priority` that is not above that of `--max-priority`"
        );
        return Err(CliError::usage(text).into());
    }
    Ok(TenantQuota {
        max_queue: arguments.max_queue,
        parallel_proofs: arguments.parallel_proofs,
        max_cycles: arguments.max_cycles,
        max_bytes: arguments.max_disk.map(|megabytes| megabytes.saturating_mul(1_000_000)),
        min_priority,
        max_priority,
        keep: arguments.keep.map(|days| DAY * days),
    })
}

fn show_quotas(quotas: &[(String, TenantQuota)], is_json: bool) -> Result<()> {
    if is_json {
        let quotas: Vec<_> = quotas
            .iter()
            .map(|(tenant, quota)| {
                json!({
                    "tenant": tenant,
                    "queued": quota.max_queue,
                    "running": quota.parallel_proofs,
                    "cycles": quota.max_cycles,
                    "bytes": quota.max_bytes,
                    "min_priority": quota.min_priority,
                    "max_priority": quota.max_priority,
                    "keep_days": quota.keep.map(days),
                })
            })
            .collect();
        return print(&json!({ "quotas": quotas }).to_string());
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["tenant", "queued", "running", "cycles", "bytes", "priorities", "days kept"]);
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    for (tenant, quota) in quotas {
        let priorities = format!("{} to {}", quota.min_priority.unwrap_or(-100), quota.max_priority.unwrap_or(100));
        let numbers = [quota.max_queue, quota.parallel_proofs, quota.max_cycles, quota.max_bytes].map(number);
        let kept = number(quota.keep.map(days));
        table.add_row([tenant.clone()].into_iter().chain(numbers).chain([priorities, kept]));
    }
    table.to_string().lines().try_for_each(print)
}

/// Returns a time in whole days, the unit in which it was set.
fn days(time: Duration) -> u64 {
    time.as_secs() / DAY.as_secs()
}

/// Returns when a token expires, as text.
fn expiry(expires: Moment, now: Moment) -> String {
    if expires <= now { format!("{expires} (expired)") } else { expires.to_string() }
}

/// A locked or full database is not a mistake of the user.
fn code_of(error: TokenStoreError) -> CliError {
    match error {
        TokenStoreError::Random(_) | TokenStoreError::Database(DatabaseError::Locked | DatabaseError::Full) => {
            CliError::new(OTHER, error.to_string())
        }
        _ => CliError::usage(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{CliArguments, CliCommand, Sp1Command};
    use clap::Parser;

    #[track_caller]
    fn check(expires: i64, now: i64, is_marked: bool) {
        assert_eq!(expiry(Moment(expires), Moment(now)).ends_with("(expired)"), is_marked, "{expires} {now}");
    }

    #[test]
    fn quota_has_the_units_of_its_options_and_a_range_of_priorities() {
        let arguments = |min: &str, max: &str| {
            let line = ["sp1d", "tokens", "quota", "a", "--state", "s", "--max-queue", "1", "--max-disk", "3"];
            let line = line.into_iter().chain(["--min-priority", min, "--max-priority", max, "--keep", "2"]);
            let CliCommand::Prover(Sp1Command::Tokens { command: TokensCommand::Quota(arguments) }) =
                CliArguments::parse_from(line).command
            else {
                panic!("another command")
            };
            arguments
        };
        let quota = quota_of(&arguments("-5", "-5")).unwrap();
        assert_eq!((quota.max_queue, quota.max_bytes, quota.min_priority), (Some(1), Some(3_000_000), Some(-5)));
        assert_eq!((quota.keep, quota.keep.map(days)), (Some(Duration::from_secs(172_800)), Some(2)));
        assert!(quota_of(&arguments("1", "0")).unwrap_err().to_string().contains("between 1 and 0"));
    }

    #[test]
    fn expired_tokens_are_marked() {
        check(10, 9, false);
        check(10, 10, true);
        check(10, 11, true);
    }
}
