//! The command line as a whole: global flags and subcommands.

#[cfg(feature = "prover")]
use super::prover::Sp1Command;
use super::{
    logging::LogArguments,
    manual::{CompletionsArguments, ManArguments},
    remote::ServiceCommand,
    verify::VerifyArguments,
};
use crate::exit;
use clap::{Parser, Subcommand};

/// Prove SP1 programs on many machines.
#[derive(Debug, Parser)]
#[command(name = "sp1d", version, after_help = exit::HELP)]
pub(crate) struct CliArguments {
    #[command(flatten)]
    pub(crate) log: LogArguments,
    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    #[cfg(feature = "prover")]
    #[command(flatten)]
    Prover(Sp1Command),
    /// Verify a proof.
    Verify(VerifyArguments),
    #[command(flatten)]
    Service(ServiceCommand),
    /// Print a shell completion script, for example: sp1d completions bash > /etc/bash_completion.d/sp1d
    Completions(CompletionsArguments),
    /// Write the manual pages, one per subcommand.
    Man(ManArguments),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{ArgAction, CommandFactory};

    /// Checks that each of `subcommands` has the flag `--json`, without a value.
    fn check(subcommands: &[&str]) {
        let cli = CliArguments::command();
        for name in subcommands {
            let subcommand = cli.find_subcommand(name).unwrap_or_else(|| panic!("{name} is not a subcommand"));
            let flag = subcommand.get_arguments().find(|argument| argument.get_long() == Some("json"));
            let action = flag.unwrap_or_else(|| panic!("`sp1d {name}` has no flag --json")).get_action();
            assert!(matches!(action, ArgAction::SetTrue), "`sp1d {name} --json` takes a value");
        }
    }

    #[test]
    fn subcommands_that_can_print_json_have_the_flag_json() {
        check(&["status", "top", "proofs", "workers", "submit", "wait", "cancel", "fetch", "logs", "explain"]);
        check(&["delete", "drain", "resume", "forget"]);
        #[cfg(feature = "prover")]
        check(&["prove", "execute", "demo", "tune", "config", "doctor", "restore"]);
    }
}
