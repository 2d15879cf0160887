//! The files that a command reads and writes: programs' inputs and outputs. This folder does not know what a command
//! does with them.

mod input;
mod output;

pub(crate) use input::{InputArgument, read_file, read_stdin};
pub(crate) use output::OutputFile;
