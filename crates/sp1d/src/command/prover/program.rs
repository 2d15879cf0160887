//! `sp1d execute` and `sp1d vkey`: commands that need no worker.

use super::signals::cancelled_by_signals;
use crate::{
    args::{ExecuteArguments, KeyArguments, KeySource, VkeyArguments},
    command::public_values::{hexadecimal, shown},
    exit::{self, CliError},
    files::{OutputFile, check_end, decode_start, read_bounded, read_program_file, read_stdin},
    process::allocator,
    terminal::print,
};
use anyhow::{Context, Result};
use serde::Serialize;
use sp1d_engine::{HashableKey, ProofRunnerSettings, SP1VerifyingKey, Sp1ProofRunner};
use sp1d_orchestrator::ProofFailure;
use std::{path::Path, time::Duration};
use tokio_util::sync::CancellationToken;

#[derive(Serialize)]
struct ExecuteSummary {
    cycles: u64,
    gas: Option<u64>,
    /// Number of input values that the program did not read. Absent if it read all, or if this is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    unread_values: Option<u64>,
    public_values: String,
    /// Duration of the execution. The second run that counts unread values is not included.
    seconds: f64,
}

pub(crate) async fn execute(arguments: ExecuteArguments) -> Result<()> {
    let program = read_program(&arguments.program.elf)?;
    let stdin = read_stdin(arguments.program.stdin.as_deref(), &arguments.program.input)?;
    let stop = cancelled_by_signals()?;
    let runner = runner().await;
    let timeout = arguments.program.timeout.map(Duration::from_secs);
    let out_of_time = CancellationToken::new();
    let either = stop.child_token();
    if let Some(timeout) = timeout {
        let (either, out_of_time) = (either.clone(), out_of_time.clone());
        tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            out_of_time.cancel();
            either.cancel();
        });
    }
    let executed = match runner.execute(&program, &stdin, arguments.program.cycle_limit, &either).await {
        Err(ProofFailure::Cancelled) if out_of_time.is_cancelled() => {
            let seconds = timeout.unwrap_or_default().as_secs();
            let text = format!(
                "the program did not end within its timeout of {seconds} s\nhint: allow more time with `--timeout`"
            );
            return Err(CliError::new(exit::TIMEOUT, text).into());
        }
        other => other?,
    };
    let outcome = ExecuteSummary {
        cycles: executed.cycles,
        gas: executed.gas,
        unread_values: executed.unread.map(|input| input.unread),
        public_values: hexadecimal(&executed.public_values),
        seconds: executed.elapsed.as_secs_f64(),
    };
    if arguments.json {
        return print(&serde_json::to_string(&outcome)?);
    }
    print(&format!("cycles:        {}", outcome.cycles))?;
    if let Some(gas) = outcome.gas {
        print(&format!("gas:           {gas}"))?;
    }
    print(&format!("public values: {}", shown(&executed.public_values)))?;
    print(&format!("seconds:       {:.2}", outcome.seconds))
}

pub(crate) async fn vkey(arguments: VkeyArguments) -> Result<()> {
    let output = arguments.output.as_deref().map(OutputFile::reserve).transpose()?;
    let key = verifying_key(&arguments.key, &runner().await).await?;
    if let Some(output) = output {
        output.commit(&bincode::serialize(&key).context("cannot serialize the verifying key")?)?;
    }
    print(&key.bytes32())
}

/// Returns the verifying key that the user named: that of a program, or the content of a file.
pub(super) async fn verifying_key(key: &KeyArguments, runner: &Sp1ProofRunner) -> Result<SP1VerifyingKey> {
    match (&key.elf, &key.vkey) {
        (Some(elf), _) => Ok(runner.verifying_key(&read_program(elf)?).await?),
        (None, Some(KeySource::File(file))) => read_key(file),
        (None, Some(KeySource::Hash(_)) | None) => {
            let text = "a hash does not contain the verifying key\nhint: pass a file with the key, or the program with \
                        `--elf`";
            Err(CliError::usage(text).into())
        }
    }
}

/// Reads a verifying key that `sp1d vkey --output` wrote.
fn read_key(path: &Path) -> Result<SP1VerifyingKey> {
    /// Largest key file in bytes. A key has some hundred bytes.
    const MAX_KEY_BYTES: u64 = 1 << 16;
    let bytes = read_bounded(path, "the verifying key", MAX_KEY_BYTES)?;
    let invalid = |reason: String| {
        CliError::usage(format!(
            "{} does not contain a verifying key of SP1: {reason}\nhint: write the key with `sp1d vkey --elf PROGRAM \
             --output FILE`",
            path.display()
        ))
    };
    let (key, rest) = decode_start(&bytes).map_err(|error| invalid(error.of_file(bytes.len())))?;
    check_end(rest).map_err(invalid)?;
    Ok(key)
}

/// Returns a runner that uses the user's stored keys and this program's allocator.
pub(crate) async fn runner() -> Sp1ProofRunner {
    let release_memory = allocator::release_memory;
    Sp1ProofRunner::new(ProofRunnerSettings { release_memory, ..ProofRunnerSettings::default() }).await
}

/// Reads the program file and checks its headers before anything slow starts.
pub(crate) fn read_program(path: &Path) -> Result<Vec<u8>> {
    let program = read_program_file(path)?;
    sp1d_engine::check_program(&program)
        .map_err(|error| CliError::usage(format!("cannot use the program {}: {error}", path.display())))?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_is_not_a_key_is_reported() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let check = |content: &[u8], part: &str| {
            fs::write(file.path(), content).unwrap();
            let text = read_key(file.path()).err().unwrap().to_string();
            assert!(text.contains(part), "no {part:?} in {text}");
        };
        check(b"", "does not contain a verifying key of SP1: it is empty\nhint: copy or fetch the file again");
        check(&[0; 5], "it ends too early, after 5 bytes\nhint: copy or fetch the file again");
        check(&[1; 5000], "does not contain a verifying key");
        check(&vec![0; 100_000], "more than 65536 bytes");
    }
}
