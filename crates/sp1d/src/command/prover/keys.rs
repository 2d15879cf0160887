//! `sp1d keys`: creates certificates, and revokes them.

use crate::{args::KeysCommand, exit::CliError, terminal::print};
use anyhow::Result;
use sp1d_identity::{Issuance, KeyAuthority, KeysError, PeerIdentity, revoke};

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
        KeysCommand::Revoke(arguments) => {
            revoke(&arguments.keys, &arguments.name).map_err(usage)?;
            print(&format!("revoked {}: see {}/revoked", arguments.name, arguments.keys.display()))
        }
    }
}

fn usage(error: KeysError) -> CliError {
    CliError::usage(error.to_string())
}
