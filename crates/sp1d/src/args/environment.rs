//! Errors about values of environment variables. clap names only the option in them.

use super::root::CliArguments;
use clap::{
    Arg, Command, CommandFactory, Error, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use std::{env, ffi::OsString};

/// Parses the command line. Ends the process if the command line is not valid, and after `--help` and `--version`.
pub(crate) fn parse() -> CliArguments {
    CliArguments::try_parse().unwrap_or_else(|error| {
        let mut command = CliArguments::command();
        command.build();
        let given: Vec<OsString> = env::args_os().collect();
        with_variable(error, &command, &given).exit()
    })
}

/// Names the environment variable instead of the option if the wrong value came from there. `given` is the command
/// line.
fn with_variable(mut error: Error, command: &Command, given: &[OsString]) -> Error {
    let is_about_a_value = matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation);
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return error };
    let Some(option) = option_with_variable(command, shown).filter(|_| is_about_a_value) else { return error };
    let Some(variable) = option.get_env().filter(|_| !is_given(option, given)) else { return error };
    let named = format!("environment variable {}", variable.display());
    error.insert(ContextKind::InvalidArg, ContextValue::String(named));
    let has_value =
        matches!(error.get(ContextKind::InvalidValue), Some(ContextValue::String(value)) if !value.is_empty());
    if option.is_hide_env_values_set() && has_value {
        error.insert(ContextKind::InvalidValue, ContextValue::String("***".to_owned()));
    }
    error
}

/// Returns the option that clap shows as `shown` and that a variable can set.
fn option_with_variable<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|option| option.get_env().is_some() && option.to_string() == shown);
    own.or_else(|| command.get_subcommands().find_map(|subcommand| option_with_variable(subcommand, shown)))
}

/// Returns true if the command line has this option. Then its variable does not count.
fn is_given(option: &Arg, given: &[OsString]) -> bool {
    let Some(name) = option.get_long() else { return false };
    given.iter().any(|word| {
        let word = word.to_string_lossy();
        word.strip_prefix("--")
            .and_then(|word| word.strip_prefix(name))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}
