//! `sp1d`: proves SP1 programs on many machines.

mod allocator;
mod args;
mod command;
mod console;
mod cpu;
mod exit;
mod input;
mod output;
mod panic;
mod private_folder;

use args::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: the rest of the program may use instructions that this processor lacks.
    if let Err(code) = cpu::check() {
        return code;
    }
    let arguments = Arguments::parse();
    let quiet_by_default = !matches!(arguments.command, Command::Worker(_));
    if let Err(error) = console::start_logging(&arguments.log, quiet_by_default) {
        return exit::report(&error);
    }
    panic::log_instead_of_printing();
    match panic::contain(|| command::run(arguments.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
