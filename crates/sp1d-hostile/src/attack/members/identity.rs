//! Workers that come and go.

use super::member::HostileMember;
use crate::attack::target::AttackTarget;
use anyhow::Result;
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for a task. A quarantined worker gets none.
const TASK_TIME: Duration = Duration::from_millis(100);

pub(in crate::attack) async fn flapping(target: AttackTarget) -> Result<()> {
    come_and_go(&target, "flapping").await
}

pub(in crate::attack) async fn many_names(target: AttackTarget) -> Result<()> {
    come_and_go(&target, &format!("name-{}", target.counts.acts())).await
}

async fn come_and_go(target: &AttackTarget, name: &str) -> Result<()> {
    let mut member = HostileMember::join(target, name).await?;
    if let Ok(task) = timeout(TASK_TIME, member.new_task()).await {
        task?;
    }
    Ok(())
}
