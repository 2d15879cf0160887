//! `sp1d completions` and `sp1d man`: shell completions and manual pages, generated from the arguments' help texts.

use crate::{
    args::{CliArguments, CompletionsArguments, ManArguments},
    exit::CliError,
    terminal::print,
};
use anyhow::{Context, Result};
use clap::CommandFactory;

const NAME: &str = "sp1d";

pub(crate) fn completions(arguments: &CompletionsArguments) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CliArguments::command(), NAME, &mut script);
    print(String::from_utf8(script).context("the completion script is not valid UTF-8")?.trim_end())
}

pub(crate) fn pages(arguments: &ManArguments) -> Result<()> {
    let folder = &arguments.folder;
    let cannot = |error: std::io::Error| CliError::usage(format!("cannot write to {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(cannot)?;
    clap_mangen::generate_to(CliArguments::command(), folder).map_err(cannot)?;
    Ok(())
}
