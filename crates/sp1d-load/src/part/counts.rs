//! Counts the instructions of hot paths, and records them or compares them with the recorded ones.

use crate::counts::{Callgrind, CountedPath, CountsRecord, rustc_version};
use anyhow::{Context, Result, bail};
use sp1d_figures::write_figures;
use std::{
    fs,
    path::{Path, PathBuf},
};

#[derive(Debug, clap::Args)]
pub(crate) struct CountsArguments {
    /// Compare the counts with those of the file, and write nothing.
    #[arg(long)]
    check: bool,
    /// File with the recorded counts.
    #[arg(long, default_value = "docs/bench/counts.json")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CountedArguments {
    /// The path to take.
    path: CountedPath,
    /// How often the path is taken.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    repetitions: u64,
}

/// How to accept new counts.
const RECORD_HINT: &str = "hint: `./x bench counts` records the counts of this version";

pub(crate) fn run(arguments: &CountsArguments) -> Result<()> {
    let recorded = if arguments.check { Some(read(&arguments.output)?) } else { None };
    let rustc = rustc_version()?;
    if let Some(recorded) = &recorded
        && recorded.rustc != rustc
    {
        eprintln!(
            "instruction counts were NOT compared: the recorded ones are of {}, and this is {rustc}",
            recorded.rustc
        );
        return Ok(());
    }
    let callgrind = Callgrind::new()?;
    let mut measured = CountsRecord { rustc, paths: Vec::new() };
    for path in CountedPath::ALL {
        let count = callgrind.count(path)?;
        println!("{:12} {:>12} instructions", count.path, count.instructions);
        measured.paths.push(count);
    }
    let Some(recorded) = recorded else { return write_figures(&arguments.output, &measured) };
    let differences = recorded.differences(&measured.paths);
    if differences.is_empty() {
        return Ok(());
    }
    bail!(
        "instruction counts differ from {}:\n{}\nhint: `callgrind_annotate {}` shows which functions take them\n{RECORD_HINT}",
        arguments.output.display(),
        differences.join("\n"),
        callgrind.profile("PATH").display()
    )
}

/// Takes a path. The bench starts this under callgrind.
pub(crate) fn take(arguments: &CountedArguments) -> Result<()> {
    arguments.path.take(arguments.repetitions)
}

fn read(file: &Path) -> Result<CountsRecord> {
    let bytes =
        fs::read(file).with_context(|| format!("cannot read the counts in {}\n{RECORD_HINT}", file.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("invalid counts in {}\n{RECORD_HINT}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(content: Option<&str>, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("counts.json");
        if let Some(content) = content {
            fs::write(&output, content).unwrap();
        }
        let error = run(&CountsArguments { check: true, output }).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(expected) && text.contains("./x bench counts"), "{text}");
    }

    #[test]
    fn a_missing_or_invalid_record_is_a_failure() {
        check_refused(None, "cannot read the counts");
        check_refused(Some("{}"), "invalid counts");
    }
}
