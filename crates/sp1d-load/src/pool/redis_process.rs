//! A Redis server, for comparison.

use anyhow::{Context, Result, bail, ensure};
use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longest start of the server.
const START_TIME: Duration = Duration::from_secs(10);

/// A running server that keeps nothing on disk. Killed when dropped.
pub(crate) struct RedisProcess {
    child: Child,
    connection: BufReader<TcpStream>,
    /// What the server says about its version.
    pub(crate) version: String,
}

/// Returns the path of the server, if it is installed. Debian keeps servers in folders that are not in every PATH.
fn installed() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([Path::new("/usr/bin").to_owned(), Path::new("/usr/sbin").to_owned()]);
    folders.map(|folder| folder.join("redis-server")).find(|file| file.is_file())
}

impl RedisProcess {
    /// Starts a server. Returns `None` if Redis is not installed.
    ///
    /// # Errors
    /// Fails if the server does not start.
    pub(crate) fn start() -> Result<Option<Self>> {
        let Some(program) = installed() else { return Ok(None) };
        let output = Command::new(&program).arg("--version").output().context("cannot start Redis")?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        // The port is free again when the listener is dropped.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = address.context("no port is free")?;
        let mut command = Command::new(program);
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &address.port().to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut child = spawned.context("cannot start Redis")?;
        match connect(address) {
            Ok(connection) => Ok(Some(Self { child, connection, version })),
            Err(error) => {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Stores `content`.
    ///
    /// # Errors
    /// Fails if the server refuses it.
    pub(crate) fn set(&mut self, content: &[u8]) -> Result<()> {
        let head = format!("*3\r\n$3\r\nSET\r\n$8\r\nartifact\r\n${}\r\n", content.len());
        let stream = self.connection.get_mut();
        stream.write_all(head.as_bytes()).context("cannot write to Redis")?;
        stream.write_all(content).context("cannot write to Redis")?;
        stream.write_all(b"\r\n").context("cannot write to Redis")?;
        let reply = self.line()?;
        ensure!(reply == "+OK", "Redis refused the content: {reply}");
        Ok(())
    }

    /// Returns the stored content.
    ///
    /// # Errors
    /// Fails if the server does not have it.
    pub(crate) fn get(&mut self) -> Result<Vec<u8>> {
        let request = b"*2\r\n$3\r\nGET\r\n$8\r\nartifact\r\n";
        self.connection.get_mut().write_all(request).context("cannot write to Redis")?;
        let reply = self.line()?;
        let length = reply.strip_prefix('$').and_then(|length| length.parse::<u64>().ok());
        let length = length.with_context(|| format!("Redis returned no content: {reply}"))?;
        // The content ends with a line break.
        let mut content = Vec::with_capacity(length as usize + 2);
        (&mut self.connection).take(length + 2).read_to_end(&mut content).context("cannot read from Redis")?;
        content.truncate(length as usize);
        Ok(content)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.connection.read_line(&mut line).context("cannot read from Redis")?;
        Ok(line.trim_end().to_owned())
    }
}

fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    let deadline = Instant::now() + START_TIME;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
                return Ok(BufReader::new(stream));
            }
            Err(error) if Instant::now() > deadline => {
                bail!("Redis does not listen on {address} after {} s: {error}", START_TIME.as_secs())
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

impl Drop for RedisProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
