//! `sp1d keys`: creates, renews and revokes certificates.

use crate::{
    args::{KeysCommand, KeysFetchArguments, KeysServeArguments},
    command::runtime::block_on,
    exit::CliError,
    terminal::print,
};
use anyhow::{Context, Result};
use sp1d_identity::{Issuance, KeyAuthority, KeysError, PeerIdentity, fetch_identity, revoke, serve_enrollment};
use std::time::Duration;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Maximum time to connect to an authority.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn run(command: KeysCommand) -> Result<()> {
    match command {
        KeysCommand::Init(arguments) => {
            let made = KeyAuthority::init(&arguments.folder, arguments.hosts, arguments.days).map_err(usage)?;
            let folder = arguments.folder.display();
            print(&format!("created {} and {folder}/ca.crt", made.display()))?;
            print(&format!("next: `sp1d keys issue NAME --keys {folder}` for each worker"))
        }
        KeysCommand::Issue(arguments) => {
            let identity = PeerIdentity { role: arguments.role, name: arguments.name, group: arguments.group };
            let authority = KeyAuthority::open(&arguments.keys).map_err(usage)?;
            let issuance = Issuance { identity, hosts: arguments.hosts, days: arguments.days };
            let made = authority.issue(issuance).map_err(usage)?;
            print(&format!("created {}", made.display()))
        }
        KeysCommand::Renew(arguments) => {
            let authority = KeyAuthority::open(&arguments.keys).map_err(usage)?;
            let made = authority.renew(&arguments.name, arguments.days).map_err(usage)?;
            print(&format!("renewed {}: copy it to its machine", made.display()))
        }
        KeysCommand::Revoke(arguments) => {
            revoke(&arguments.keys, &arguments.name).map_err(usage)?;
            print(&format!("revoked {}: see {}/revoked", arguments.name, arguments.keys.display()))
        }
        KeysCommand::JoinToken(arguments) => {
            let identity = PeerIdentity { role: arguments.role, name: arguments.name, group: arguments.group };
            let authority = KeyAuthority::open(&arguments.keys).map_err(usage)?;
            let valid = Duration::from_secs(u64::from(arguments.minutes) * 60);
            print(&authority.new_token(&identity, valid).map_err(usage)?.to_string())
        }
        KeysCommand::Serve(arguments) => block_on(serve(arguments)),
        KeysCommand::Fetch(arguments) => block_on(fetch(arguments)),
    }
}

async fn serve(KeysServeArguments { listen, keys, days }: KeysServeArguments) -> Result<()> {
    let authority = KeyAuthority::open(&keys).map_err(usage)?;
    let found = listen.resolve().await.with_context(|| format!("cannot listen on {listen}"))?;
    let listener = TcpListener::bind(found.as_slice()).await.with_context(|| format!("cannot listen on {listen}"))?;
    print(&format!("giving identities to machines with tokens at {}; stop with Ctrl-C", listener.local_addr()?))?;
    serve_enrollment(authority, listener, days).await.map_err(usage)?;
    Ok(())
}

async fn fetch(KeysFetchArguments { from, file, token }: KeysFetchArguments) -> Result<()> {
    let found = from.resolve().await.with_context(|| format!("cannot reach {from}"))?;
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(found.as_slice())).await;
    let stream = connected.with_context(|| format!("cannot reach {from}"))?;
    let stream = stream.with_context(|| format!("cannot reach {from}"))?;
    fetch_identity(stream, &token, &file).await.map_err(usage)?;
    print(&format!("created {}: pass it to `--tls`", file.display()))
}

fn usage(error: KeysError) -> CliError {
    CliError::usage(error.to_string())
}
