//! `sp1d tokens`: creates, lists and revokes the tokens of a service.

use crate::{
    args::TokensCommand,
    exit::{CliError, OTHER},
    terminal::print,
};
use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::json;
use sp1d_model::Moment;
use sp1d_service::{DatabaseError, NewApiToken, TokenStore, TokenStoreError, TokenSummary};
use std::{path::Path, time::Duration};

pub(super) fn run(command: TokensCommand) -> Result<()> {
    // The command may create the database, which only the user of the service can read.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    match command {
        TokensCommand::Create(arguments) => {
            let valid = Duration::from_secs(u64::from(arguments.days) * 24 * 60 * 60);
            let roles = arguments.roles.into_iter().collect();
            let new = NewApiToken { name: arguments.name, tenant: arguments.tenant, roles, valid };
            let token = open(&arguments.state.state)?.create(&new).map_err(code_of)?;
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
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(["name", "tenant", "roles", "created", "expires"]);
    for token in tokens {
        let TokenSummary { name, tenant, roles, created, expires } = token;
        let row = [name.clone(), tenant.to_string(), roles.to_string(), created.to_string()];
        table.add_row(row.into_iter().chain([expiry(*expires, Moment::now())]));
    }
    table.to_string().lines().try_for_each(print)
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

    #[track_caller]
    fn check(expires: i64, now: i64, is_marked: bool) {
        assert_eq!(expiry(Moment(expires), Moment(now)).ends_with("(expired)"), is_marked, "{expires} {now}");
    }

    #[test]
    fn expired_tokens_are_marked() {
        check(10, 9, false);
        check(10, 10, true);
        check(10, 11, true);
    }
}
