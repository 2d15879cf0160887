//! Uploads that take disk, memory or places.

use super::http::{ask, chunk_of, head, pour};
use crate::{attack::target::AttackTarget, pool::INPUT_BYTES};
use anyhow::{Context, Result, bail};
use std::time::Duration;

/// Pause between two proofs that `large-inputs` requests. Each has one shard, and its fair share of the workers is not
/// an attack. With two workers and 50 ms for a shard, one proof in a second takes 2.5 % of their time.
const PROOF_PAUSE: Duration = Duration::from_secs(1);

pub(in crate::attack) async fn endless_zeros(target: AttackTarget) -> Result<()> {
    let head = head("POST", "/v1/inputs", "transfer-encoding: chunked\r\n");
    pour(&target, &head, &chunk_of(0), Duration::ZERO).await
}

pub(in crate::attack) async fn slow_uploads(target: AttackTarget) -> Result<()> {
    let head = head("POST", "/v1/inputs", "content-length: 1000000\r\n");
    pour(&target, &head, b"a", Duration::from_millis(20)).await
}

pub(in crate::attack) async fn large_inputs(target: AttackTarget) -> Result<()> {
    // The same inputs again and again: the attack is on memory and time, and the disk of this machine is not the
    // attacker's.
    let input = vec![b'a'; usize::try_from(INPUT_BYTES)?];
    let reply = ask(&target, "POST", "/v1/inputs", "", &input).await?;
    let input = reply.ids(1).pop().with_context(|| format!("status {}", reply.status))?;
    if !target.counts.is_proof_due(PROOF_PAUSE) {
        return Ok(());
    }
    let programs = ask(&target, "GET", "/v1/programs", "", b"").await?;
    let program = programs.ids(1).pop().context("the service has no program")?;
    let request = format!("{{\"program\": \"{program}\", \"input\": \"{input}\", \"cycle_limit\": 1}}");
    let reply = ask(&target, "POST", "/v1/proofs", "content-type: application/json\r\n", request.as_bytes()).await?;
    if reply.status >= 300 {
        bail!("status {}", reply.status);
    }
    Ok(())
}

pub(in crate::attack) async fn wrong_programs(target: AttackTarget) -> Result<()> {
    let reply = ask(&target, "POST", "/v1/programs", "", &vec![b'x'; 3 << 20]).await?;
    if reply.status < 300 {
        target.violate("the service accepted a program that is not valid".to_owned());
    }
    bail!("status {}", reply.status)
}
