//! A process with workers, as the bench sees it.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A running process with workers. Killed when dropped.
pub(crate) struct FleetProcess {
    child: Child,
    commands: ChildStdin,
    /// Kept open, so that the process can write to it.
    _output: BufReader<ChildStdout>,
    /// The addresses of the workers.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The port that receives raw copies.
    pub(crate) copy: SocketAddr,
}

impl FleetProcess {
    /// Starts `count` workers, and waits until they listen. `options` are those of `load workers`.
    ///
    /// # Errors
    /// Fails if the process does not start.
    pub(crate) fn start(count: u32, options: &[(&str, String)]) -> Result<Self> {
        let own = env::current_exe().context("cannot find the path of this program")?;
        let mut command = Command::new(own);
        command.args(["workers", "--count", &count.to_string()]);
        for (name, value) in options {
            command.arg(format!("--{name}"));
            if !value.is_empty() {
                command.arg(value);
            }
        }
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.context("cannot start the process with the workers")?;
        let commands = child.stdin.take().context("the workers have no stdin")?;
        let mut output = BufReader::new(child.stdout.take().context("the workers have no stdout")?);
        let (mut addresses, mut copy) = (Vec::new(), None);
        loop {
            let mut line = String::new();
            output.read_line(&mut line).context("cannot read the output of the workers")?;
            match line.trim().split_once(' ') {
                Some(("worker", address)) => addresses.push(address.parse().context("a worker printed no address")?),
                Some(("copy", address)) => copy = Some(address.parse().context("the workers printed no address")?),
                None if line.trim() == "ready" => break,
                _ => bail!("the process with the workers printed {line:?} instead of an address"),
            }
        }
        let copy = copy.context("the workers printed no address for copies")?;
        Ok(Self { child, commands, _output: output, addresses, copy })
    }

    /// Returns the id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// Fails if the process has ended.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("cannot send a signal to the workers")
    }

    /// Closes the connections of the first worker, which must be behind a link.
    ///
    /// # Errors
    /// Fails if the process has ended.
    pub(crate) fn disconnect(&mut self) -> Result<()> {
        writeln!(self.commands, "disconnect").context("cannot send a command to the workers")
    }
}

impl Drop for FleetProcess {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
