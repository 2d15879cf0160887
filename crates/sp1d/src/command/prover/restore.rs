//! `sp1d restore`: restores the state folder of a service from its archive.

use crate::{
    args::RestoreArguments,
    exit::{CliError, OTHER},
    terminal::print,
};
use anyhow::Result;
use serde_json::json;
use sp1d_model::counted;
use sp1d_service::{ArchiveError, ArchivePlace, RestoreRequest, Restored, archived_copies, restore};

pub(super) async fn run(arguments: RestoreArguments) -> Result<()> {
    // Programs, inputs and proofs may be secret.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let RestoreArguments { archive, state, copy, incomplete, list, json } = arguments;
    let place = archive.parse::<ArchivePlace>().map_err(|error| CliError::usage(error.to_string()))?;
    let variable = |name: &str| std::env::var(name).ok();
    let Some(state) = state.filter(|_| !list) else {
        let copies = archived_copies(&place, variable).await.map_err(|error| code_of(&error))?;
        if json {
            let copies: Vec<_> = copies.iter().map(|(copy, at)| json!({ "copy": copy, "at": at })).collect();
            return print(&json!({ "copies": copies }).to_string());
        }
        return copies.iter().try_for_each(|(copy, at)| print(&format!("{at}  {copy}")));
    };
    let request = RestoreRequest { place, state, copy, incomplete };
    let restored = restore(&request, variable).await.map_err(|error| code_of(&error))?;
    let Restored { copy, at, files, missing } = restored;
    let state = request.state.display();
    if json {
        let outcome = json!({ "state": state.to_string(), "copy": copy, "at": at, "files": files, "missing": missing });
        return print(&outcome.to_string());
    }
    print(&format!(
        "restored {state}: the database of {at}, and {} (programs, inputs and proofs)",
        counted(files, "file")
    ))?;
    if missing > 0 {
        print(&format!("warning: the archive lacks {}", counted(missing, "file")))?;
    }
    print(&format!("start the service with `sp1d serve --state {state} --archive {}`", request.place))
}

/// Problems of the archive or of this machine are not mistakes of the user.
fn code_of(error: &ArchiveError) -> CliError {
    match error {
        ArchiveError::Settings(_) | ArchiveError::NotEmpty { .. } | ArchiveError::State(_) => {
            CliError::usage(error.to_string())
        }
        _ => CliError::new(OTHER, error.to_string()),
    }
}
