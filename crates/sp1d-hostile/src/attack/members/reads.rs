//! Reads of artifacts: of others, or without reading the response.

use super::member::HostileMember;
use crate::attack::target::AttackTarget;
use anyhow::Result;
use sp1d_protocol::wire::FetchRequest;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Number of artifacts that `unread-artifacts` asks for at the same time.
const UNREAD: usize = 64;

pub(in crate::attack) async fn foreign_inputs(target: AttackTarget) -> Result<()> {
    let mut member = HostileMember::join(&target, "foreign").await?;
    loop {
        let task = member.task().await?;
        let own: Vec<String> = task.payload.inputs().into_iter().map(|input| input.artifact.name.clone()).collect();
        let others = (0..8).flat_map(|shard| ["record", "result", "events"].map(|kind| format!("{kind}-{shard}")));
        for name in others.chain(["stdin".to_owned()]).filter(|name| !own.contains(name)) {
            let request = FetchRequest { attempt: task.attempt.0, name: name.clone() };
            target.act();
            match member.client.clone().fetch(request).await {
                Ok(_) => target.violate(format!("a task may read the artifact {name} of another task")),
                Err(status) => target.counts.refuse(status.message()),
            }
        }
    }
}

pub(in crate::attack) async fn unread_artifacts(target: AttackTarget) -> Result<()> {
    let mut member = HostileMember::join(&target, "unread").await?;
    loop {
        let task = member.task().await?;
        let mut unread = Vec::new();
        for input in task.payload.inputs().into_iter().cycle().take(UNREAD) {
            let request = FetchRequest { attempt: task.attempt.0, name: input.artifact.name.clone() };
            target.act();
            // Beyond the streams of a session, a call waits.
            match timeout(Duration::from_millis(20), member.client.clone().fetch(request)).await {
                Ok(Ok(response)) => unread.push(response),
                Ok(Err(status)) => target.counts.refuse(status.message()),
                Err(_) => {}
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}
