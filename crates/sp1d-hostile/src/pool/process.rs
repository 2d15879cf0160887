//! A process whose memory and log are measured.

use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// A process whose memory and log are measured. Killed when dropped.
pub(crate) struct MeasuredProcess {
    child: Child,
    /// Kept open, so that the process can write to it.
    output: Option<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl MeasuredProcess {
    /// Starts `command`. Its stderr goes to the file `log`.
    pub(crate) fn start(command: &mut Command, log: PathBuf, is_read: bool) -> Result<Self> {
        let errors = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let output = if is_read { Stdio::piped() } else { Stdio::null() };
        let spawned = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let mut child = spawned.with_context(|| {
            let program = Path::new(command.get_program()).display();
            format!("cannot start {program}\nhint: `./x bench hostile` builds it")
        })?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, output, log })
    }

    /// Waits for the next line of stdout, and returns the rest after `start`.
    pub(crate) fn line(&mut self, start: &str) -> Result<String> {
        let mut line = String::new();
        let output = self.output.as_mut().context("the output of the process is not read")?;
        output.read_line(&mut line).context("cannot read the output of a process")?;
        let rest = line.trim().strip_prefix(start).map(ToOwned::to_owned);
        rest.with_context(|| format!("the process printed {line:?} instead of {start:?}; its log:\n{}", self.log()))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns how the process ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// Returns the content of the log.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |file| file.len())
    }
}

impl Drop for MeasuredProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
