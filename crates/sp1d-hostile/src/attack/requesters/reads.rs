//! Reads: many, fast, or without reading the response.

use super::http::{ask, head};
use crate::attack::target::AttackTarget;
use anyhow::{Context, Result, bail};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

/// How long a connection stays open that waits for something.
const HOLD: Duration = Duration::from_secs(2);

pub(in crate::attack) async fn cheap_reads(target: AttackTarget) -> Result<()> {
    let newest = ask(&target, "GET", "/v1/proofs?limit=1000", "", b"").await?;
    for id in newest.ids(2) {
        for path in [format!("/v1/proofs/{id}"), format!("/v1/proofs/{id}/tasks"), format!("/v1/proofs/{id}/trace")] {
            ask(&target, "GET", &path, "", b"").await?;
        }
    }
    for path in ["/metrics", "/healthz", "/readyz", "/v1/workers", "/v1/programs", "/openapi.json", "/"] {
        let reply = ask(&target, "GET", path, "", b"").await?;
        if reply.status >= 500 {
            bail!("status {} of {path}", reply.status);
        }
    }
    Ok(())
}

pub(in crate::attack) async fn many_followers(target: AttackTarget) -> Result<()> {
    let newest = ask(&target, "GET", "/v1/proofs?limit=4", "", b"").await?;
    let id = newest.ids(4).pop().context("the service has no proof")?;
    let mut stream = target.connect(target.http_port).await?;
    stream.write_all(head("GET", &format!("/v1/proofs/{id}/events"), "").as_bytes()).await?;
    let mut part = [0; 4096];
    // The response to a request on the same connection ends with the proof.
    let read = async {
        while stream.read(&mut part).await.is_ok_and(|bytes| bytes > 0) {
            target.act();
        }
    };
    let _ = timeout(HOLD, read).await;
    Ok(())
}

pub(in crate::attack) async fn unread_responses(target: AttackTarget) -> Result<()> {
    let mut stream = target.connect(target.http_port).await?;
    let requests = head("GET", "/openapi.json", "").repeat(100);
    let write = async {
        while stream.write_all(requests.as_bytes()).await.is_ok() {
            target.act();
        }
    };
    // Most of the time this waits for the service, which does not read on.
    let _ = timeout(HOLD, write).await;
    Ok(())
}

pub(in crate::attack) async fn half_requests(target: AttackTarget) -> Result<()> {
    let mut stream = target.connect(target.http_port).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc").await?;
    target.act();
    tokio::select! {
        read = stream.read_u8() => bail!("the service responded: {:?}", read.err()),
        () = sleep(HOLD) => Ok(()),
    }
}
