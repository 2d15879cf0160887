//! The files that a command reads and writes: programs, inputs, proofs and outputs. This folder does not know what a
//! command does with them.

mod decode;
mod input;
mod output;
mod read;

pub(crate) use decode::{ValueDecodeError, check_end, decode_start};
pub(crate) use input::{InputArgument, read_stdin};
pub(crate) use output::OutputFile;
#[cfg(feature = "prover")]
pub(crate) use read::read_program_file;
pub(crate) use read::{read_bounded, read_elf};
