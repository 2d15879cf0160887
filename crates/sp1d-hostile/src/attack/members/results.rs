//! Wrong results.

use super::member::{HostileMember, whole};
use crate::attack::target::AttackTarget;
use anyhow::{Result, anyhow};
use futures::stream;
use sp1d_artifacts::Blob;
use sp1d_protocol::{Assignment, made_prefix, wire, wire::from_worker::Message};
use sp1d_testing::SLOW_RESULT;

pub(in crate::attack) async fn lying_results(target: AttackTarget) -> Result<()> {
    let mut member = HostileMember::join(&target, "lying").await?;
    loop {
        let task = member.new_task().await?;
        finish(&member, &task, b"garbage").await?;
        target.act();
    }
}

pub(in crate::attack) async fn slow_checks(target: AttackTarget) -> Result<()> {
    let mut member = HostileMember::join(&target, "slow-checks").await?;
    loop {
        let task = member.new_task().await?;
        finish(&member, &task, SLOW_RESULT).await?;
        target.act();
    }
}

/// Claims events that are not those of the shard, delivers `result`, and reports success.
async fn finish(member: &HostileMember, task: &Assignment, result: &[u8]) -> Result<()> {
    let attempt = task.attempt.0;
    member.send(Message::Started(wire::Started { attempt })).await?;
    if let Some(marker) = task.payload.marker() {
        let made = format!("{}events", made_prefix(task.attempt));
        upload(member, task, &made, b"events of another").await?;
        upload(member, task, &marker.event_list, made.as_bytes()).await?;
        member.send(Message::DeferredEventsUploaded(wire::DeferredEventsUploaded { attempt })).await?;
    }
    upload(member, task, task.payload.result(), result).await?;
    member.send(Message::Done(wire::Done { attempt, proving_ms: 1 })).await
}

async fn upload(member: &HostileMember, task: &Assignment, name: &str, content: &[u8]) -> Result<()> {
    let parts = whole(task, name, &Blob::encode(content));
    let delivered = member.upload(stream::iter(parts)).await;
    delivered.map_err(|status| anyhow!("an upload was refused: {}", status.message()))
}
