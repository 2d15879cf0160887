//! The process with the workers: `load workers`. The bench starts it.
//!
//! It prints `worker ADDRESS` for each worker, `copy ADDRESS` for the port that receives raw copies, and `ready`. It
//! ends with its stdin. The line `disconnect` on stdin closes the connections of the first worker, if that is behind a
//! link.

use super::fleet_link::FleetLink;
use anyhow::{Context, Result};
use sp1d_identity::{PeerRole, TlsIdentity};
use sp1d_protocol::FailureKind;
use sp1d_testing::{FakeEngine, RunningWorker, record};
use sp1d_worker::AttemptError;
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    thread,
    time::Duration,
};
use tokio::time::sleep;

#[derive(Debug, clap::Args)]
pub(crate) struct FleetArguments {
    /// Number of workers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// First part of the names of the workers.
    #[arg(long, default_value = "worker")]
    name: String,
    /// Size of a result. Results do not compress.
    #[arg(long, default_value_t = 8)]
    result_bytes: usize,
    /// Time for a task.
    #[arg(long, default_value_t = 0)]
    milliseconds: u64,
    /// File with an identity for all workers. With it, connections use TLS.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// Put the first worker behind a link.
    #[arg(long)]
    link: bool,
    /// Bytes that pass the link to the worker in a second. Without it, the link has no limit.
    #[arg(long, requires = "link", value_parser = clap::value_parser!(u64).range(1..))]
    link_bytes_per_second: Option<u64>,
}

/// Runs the workers until stdin ends. Attempts ignore the content of their inputs, but the session fetches the inputs.
pub(crate) async fn serve_fleet(arguments: FleetArguments) -> Result<()> {
    let result = record(0, arguments.result_bytes);
    let time = Duration::from_millis(arguments.milliseconds);
    let engine = FakeEngine::doing(move |assignment, io| {
        let result = result.clone();
        async move {
            if !time.is_zero() {
                sleep(time).await;
            }
            let delivered = io.deliver(assignment.payload.result(), result).await;
            delivered.map_err(|error| AttemptError { kind: FailureKind::Output, text: error.to_string() })
        }
    });
    let tls = arguments.tls.as_deref().map(|path| TlsIdentity::load(path, PeerRole::Worker)).transpose();
    let tls = tls.context("cannot load the identity of the workers")?;
    let (mut workers, mut link) = (Vec::new(), None);
    for number in 0..arguments.count {
        let (name, engine) = (format!("{}-{number}", arguments.name), engine.clone());
        let worker = match &tls {
            Some(tls) => RunningWorker::secure(&name, engine, tls.clone()).await,
            None => RunningWorker::ready(&name, engine).await,
        };
        let mut address = worker.address;
        if arguments.link && number == 0 {
            let started = FleetLink::start(address, arguments.link_bytes_per_second)?;
            address = started.address();
            link = Some(started);
        }
        println!("worker {address}");
        workers.push(worker);
    }
    println!("copy {}", receive_copies()?);
    println!("ready");
    let obeyed = tokio::task::spawn_blocking(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if line == "disconnect"
                && let Some(link) = &link
            {
                link.disconnect();
            }
        }
    });
    obeyed.await.context("cannot read the commands of the bench")
}

/// Receives raw copies on a port: 8 bytes with the length, then the content. Replies with one byte when the whole
/// content is in memory.
fn receive_copies() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    let address = listener.local_addr().context("the listener has no address")?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // The sender notices a failure, because it gets no reply.
            let _ = receive_copy(stream);
        }
    });
    Ok(address)
}

fn receive_copy(mut stream: TcpStream) -> io::Result<()> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    // The bench itself sends the length. A growing buffer would be copied again and again, which TCP does not need.
    let mut content = Vec::with_capacity(length as usize);
    (&mut stream).take(length).read_to_end(&mut content)?;
    stream.write_all(&[1])
}
