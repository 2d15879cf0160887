//! Messages that no honest worker sends, and silence.

use super::member::HostileMember;
use crate::attack::target::AttackTarget;
use anyhow::{Result, bail};
use sp1d_protocol::{MessageLimits, wire, wire::from_worker::Message};

pub(in crate::attack) async fn silent_session(target: AttackTarget) -> Result<()> {
    let mut member = HostileMember::join(&target, "silent").await?;
    member.new_task().await?;
    target.act();
    member.fall_silent();
    member.ended().await;
    bail!("the session was ended for its silence")
}

pub(in crate::attack) async fn held_tasks(target: AttackTarget) -> Result<()> {
    let mut member = HostileMember::join(&target, "holding").await?;
    loop {
        let task = member.new_task().await?;
        member.send(Message::Started(wire::Started { attempt: task.attempt.0 })).await?;
        target.act();
    }
}

pub(in crate::attack) async fn nonsense_messages(target: AttackTarget) -> Result<()> {
    let member = HostileMember::join(&target, "nonsense").await?;
    for attempt in (0..u64::MAX).step_by(7) {
        let kind = wire::FailureKind::Panic.into();
        for message in [
            Message::Started(wire::Started { attempt }),
            Message::DeferredEventsUploaded(wire::DeferredEventsUploaded { attempt }),
            Message::Done(wire::Done { attempt, proving_ms: u64::MAX }),
            Message::Failed(wire::Failed { attempt, kind, text: "nonsense".to_owned() }),
            Message::OthersWaiting(wire::OthersWaiting { count: 0 }),
        ] {
            member.send(message).await?;
            target.act();
        }
    }
    Ok(())
}

pub(in crate::attack) async fn log_flood(target: AttackTarget) -> Result<()> {
    let name = "\u{1b}[2Jlog\nflood";
    let mut member = HostileMember::join(&target, name).await?;
    let text = "\u{1b}]0;title\u{7}\r\n".repeat(MessageLimits::FAILURE_BYTES / 8);
    loop {
        let task = member.task().await?;
        for ready in [false, true] {
            member.send(Message::Readiness(wire::Readiness { ready, ..Default::default() })).await?;
        }
        member.fail(&task, text.clone()).await?;
        target.act();
    }
}
