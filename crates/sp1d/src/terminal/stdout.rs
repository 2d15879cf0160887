//! Data on stdout.

use super::printable::printable;
use anyhow::{Context, Result};
use std::io::{self, Write};

/// Writes a line of data to stdout, without characters that a terminal obeys. A closed pipe is not an error.
pub(crate) fn print(text: &str) -> Result<()> {
    match writeln!(io::stdout(), "{}", printable(text)) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to stdout"),
    }
}
