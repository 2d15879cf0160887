//! The command that starts a prover process.

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::PathBuf,
    process::Stdio,
};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
};

/// The command that starts a prover process. The standard input of the process is the socket to the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProverCommand {
    /// The program file, usually the one of the running process.
    pub program: PathBuf,
    /// The arguments that make the program run as a prover.
    pub arguments: Vec<OsString>,
    /// Environment variables of the process, in addition to those of this one.
    pub variables: Vec<(String, String)>,
    /// The GPU that the process computes on, for people. `None` if it computes on the processor.
    pub gpu: Option<String>,
}

impl ProverCommand {
    /// Starts the process. Returns it with a stream whose other end is the process's standard input.
    pub(super) fn start(&self) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            // The worker's standard output must contain only the worker's own output.
            .stdout(Stdio::from(io::stderr()))
            // Signals from a terminal must reach only the worker, which then stops the prover.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok((child, UnixStream::from_std(ours)?))
    }
}
