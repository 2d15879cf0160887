//! Arguments of the subcommands that generate shell completions and manual pages.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// Shell to write the script for.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Folder to write the pages to, for example /usr/local/share/man/man1.
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}
