//! Floods of connections. Each connection is silent, sends nonsense, sends half of a first message, or closes at once.

use super::target::AttackTarget;
use anyhow::Result;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
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

/// What a connection sends first. The last one sends nothing and closes at once.
const FIRST_BYTES: [Option<&[u8]>; 4] = [Some(b""), Some(&[0xff; 64]), Some(b"SP1D"), None];
const FIRST_HTTP_BYTES: [Option<&[u8]>; 4] = [Some(b""), Some(&[0xff; 64]), Some(b"GET /healthz HT"), None];
const FIRST_HTTP2_BYTES: [Option<&[u8]>; 4] =
    [Some(b""), Some(&[0xff; 64]), Some(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), None];

pub(super) async fn worker_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.worker_port, &FIRST_BYTES).await
}

pub(super) async fn join_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.join_port, &FIRST_BYTES).await
}

pub(super) async fn http_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.http_port, &FIRST_HTTP_BYTES).await
}

pub(super) async fn hosted_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.hosted_port, &FIRST_HTTP2_BYTES).await
}

pub(super) async fn health_flood(target: AttackTarget) -> Result<()> {
    flood(&target, target.health_port, &FIRST_HTTP_BYTES).await
}

/// Opens connections at the wanted rate until it is dropped.
async fn flood(target: &AttackTarget, port: SocketAddr, first: &'static [Option<&'static [u8]>]) -> Result<()> {
    let mut connections = JoinSet::new();
    let mut ticks = interval(TICK);
    let mut first = first.iter().copied().cycle();
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
async fn hold(target: &AttackTarget, port: SocketAddr, first: Option<&[u8]>) -> Result<()> {
    let mut stream = target.connect(port).await?;
    target.act();
    // The end of the connection leaves no socket behind. Otherwise the attacker would run out of ports.
    stream.set_zero_linger()?;
    let Some(first) = first else { return Ok(()) };
    stream.write_all(first).await?;
    let mut reply = [0; 256];
    let read = async { while stream.read(&mut reply).await.is_ok_and(|bytes| bytes > 0) {} };
    let _ = timeout(HOLD, read).await;
    Ok(())
}
