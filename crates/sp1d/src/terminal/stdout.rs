//! Data on stdout.

use anyhow::{Context, Result};
use std::io::{self, Write};

/// Writes a line of data to stdout. A closed pipe is not an error.
pub(crate) fn print(text: &str) -> Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to stdout"),
    }
}
