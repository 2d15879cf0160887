//! Uploads that want memory or last for ever.

use super::member::{HostileMember, chunk, header, whole};
use crate::attack::target::AttackTarget;
use anyhow::{Result, bail};
use futures::{
    StreamExt,
    future::join_all,
    stream::{self, FuturesUnordered},
};
use sp1d_artifacts::Blob;
use sp1d_model::AttemptId;
use sp1d_protocol::{MessageLimits, chunk_to_wire, made_prefix, wire};
use std::time::Duration;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tonic::Status;

/// Number of uploads of `many-streams` at the same time.
const STREAMS: u32 = 200;

/// Returns the name of an artifact that the attempt may make.
fn made(attempt: AttemptId, number: u64) -> String {
    format!("{}{number}", made_prefix(attempt))
}

/// Counts an upload and its refusal.
fn count(target: &AttackTarget, outcome: Result<(), Status>) {
    target.act();
    if let Err(status) = outcome {
        target.counts.refuse(status.message());
    }
}

async fn zeros(bytes: usize) -> Result<Blob> {
    Ok(spawn_blocking(move || Blob::encode(&vec![0; bytes])).await?)
}

pub(in crate::attack) async fn undeclared_artifacts(target: AttackTarget) -> Result<()> {
    let mut member = HostileMember::join(&target, "undeclared").await?;
    let blob = zeros(1 << 20).await?;
    loop {
        let task = member.task().await?;
        let other = made(AttemptId(task.attempt.0 + 1), 0);
        for name in ["program", "common", "record-0", "result-0", "events-0", "stdin", "../../state", other.as_str()] {
            // One of these may be an output of the task.
            if task.payload.outputs().find(name).is_none() {
                count(&target, member.upload(stream::iter(whole(&task, name, &blob))).await);
            }
        }
    }
}

pub(in crate::attack) async fn oversize_artifacts(target: AttackTarget) -> Result<()> {
    let mut member = HostileMember::join(&target, "oversize").await?;
    let blob = zeros(32 << 20).await?;
    for number in 0.. {
        let task = member.task().await?;
        let name = made(task.attempt, number);
        count(&target, member.upload(stream::iter(whole(&task, &name, &blob))).await);
        for length in [MessageLimits::ARTIFACT_BYTES, u64::MAX] {
            // The zeros of the first part again and again.
            let zeros = chunk_to_wire(blob.chunks()[0].clone());
            let chunks = stream::repeat(chunk(zeros)).take(4096);
            let parts = stream::iter([header(&task, &name, length)]).chain(chunks);
            count(&target, member.upload(parts).await);
        }
        count(&target, member.upload(stream::iter(whole(&task, task.payload.result(), &blob))).await);
    }
    Ok(())
}

pub(in crate::attack) async fn one_byte_chunks(target: AttackTarget) -> Result<()> {
    let mut member = HostileMember::join(&target, "one-byte").await?;
    for number in 0.. {
        let task = member.task().await?;
        let byte = wire::Chunk { zstd: false, decoded_length: 1, content: b"a".to_vec().into() };
        let chunks = stream::repeat(chunk(byte)).take(1 << 20);
        let parts = stream::iter([header(&task, &made(task.attempt, number), 1 << 20)]).chain(chunks);
        count(&target, member.upload(parts).await);
    }
    Ok(())
}

pub(in crate::attack) async fn many_streams(target: AttackTarget) -> Result<()> {
    let mut member = HostileMember::join(&target, "many-streams").await?;
    loop {
        let task = member.task().await?;
        let open = |number: u32| {
            let header = header(&task, &made(task.attempt, number.into()), MessageLimits::ARTIFACT_BYTES / 64);
            target.act();
            member.upload(stream::iter([header]).chain(stream::pending()))
        };
        let streams = join_all((0..STREAMS).map(open));
        // Long enough for other sessions to need the memory, and short enough to do it again.
        if let Ok(outcomes) = timeout(Duration::from_secs(1), streams).await {
            outcomes.into_iter().filter_map(Result::err).for_each(|status| target.counts.refuse(status.message()));
        }
    }
}

pub(in crate::attack) async fn endless_deliveries(target: AttackTarget) -> Result<()> {
    let mut member = HostileMember::join(&target, "endless").await?;
    let task = member.new_task().await?;
    let blob = zeros(8 << 20).await?;
    let mut open = FuturesUnordered::new();
    for number in 0..STREAMS {
        // All parts but the last one, which never comes.
        let mut parts = whole(&task, &made(task.attempt, number.into()), &blob);
        parts.pop();
        target.act();
        open.push(member.upload(stream::iter(parts).chain(stream::pending())));
    }
    // The session stays open as long as any upload does.
    while let Some(outcome) = open.next().await {
        if let Err(status) = outcome {
            target.counts.refuse(status.message());
        }
    }
    sleep(Duration::from_millis(100)).await;
    bail!("all uploads were ended")
}
