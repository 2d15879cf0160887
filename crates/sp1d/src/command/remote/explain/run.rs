//! Finds the proof and prints the explanation.

use super::{
    attempts::{ExplainedTask, attempts_by_task, shown},
    queue::MAX_EXAMINED_PROOFS,
    sentences::{ExplainContext, explain},
};
use crate::{args::ExplainArguments, exit::CliError, terminal::print};
use anyhow::Result;
use serde_json::json;
use sp1d_client::{Client, ClientError, EventRecord, OpenTasks, ProofState, ProofSummary};
use std::collections::BTreeMap;

/// Digits of a proof's id. A shorter argument that consists of decimal digits is the number of a task.
const PROOF_DIGITS: usize = 12;

/// A task is searched for in this many of the running proofs, and of the newest proofs.
const MAX_SEARCHED_PROOFS: u32 = 100;

/// Maximum number of open tasks that are examined one by one: the largest page of the service.
const MAX_OPEN_TASKS: u32 = 1000;

pub(in crate::command) async fn run(arguments: ExplainArguments) -> Result<()> {
    let ExplainArguments { what, remote } = arguments;
    let client = remote.client()?;
    let (proof, events, only) = find(&client, &what).await?;
    let attempts = attempts_by_task(&events);
    let context = ExplainContext {
        queued: client.proofs(Some(ProofState::Queued), MAX_EXAMINED_PROOFS).await?,
        health: client.health().await?,
        open: open_tasks(&client, &proof.id, only).await?,
    };
    let sentences = explain(&proof, &events, &attempts, only, &context);
    let shown: BTreeMap<u64, &ExplainedTask> = shown(&attempts, only).collect();
    if remote.json {
        let OpenTasks { reasons, tasks: open, .. } = context.open;
        let explained = json!({
            "proof": proof, "sentences": sentences, "reasons": reasons, "open_tasks": open, "tasks": shown
        });
        return print(&explained.to_string());
    }
    print(&sentences.join("\n"))
}

/// Returns the open tasks of a proof, or only the task `only` among them.
async fn open_tasks(client: &Client, proof: &str, only: Option<u64>) -> Result<OpenTasks, ClientError> {
    let Some(task) = only else { return client.open_tasks(proof, 0, MAX_OPEN_TASKS).await };
    let mut found = client.open_tasks(proof, task.saturating_sub(1), 1).await?;
    found.tasks.retain(|open| open.task.0 == task);
    Ok(found)
}

/// Finds the proof that `what` names: by its own id, or by the number of one of its tasks. Returns the proof, its
/// events, and the task's number if `what` is a task.
async fn find(client: &Client, what: &str) -> Result<(ProofSummary, Vec<EventRecord>, Option<u64>)> {
    let is_task = what.len() < PROOF_DIGITS && what.bytes().all(|digit| digit.is_ascii_digit());
    let Some(task) = what.parse::<u64>().ok().filter(|_| is_task) else {
        let proof = client.proof(what).await?;
        let events = client.past_events(what, 0).await?;
        return Ok((proof, events, None));
    };
    // Events name only tasks that were assigned. A task that has always waited is found only among the open tasks.
    for proof in client.proofs(Some(ProofState::Running), MAX_SEARCHED_PROOFS).await? {
        if !open_tasks(client, &proof.id, Some(task)).await?.tasks.is_empty() {
            let events = client.past_events(&proof.id, 0).await?;
            return Ok((proof, events, Some(task)));
        }
    }
    for proof in client.proofs(None, MAX_SEARCHED_PROOFS).await? {
        let events = client.past_events(&proof.id, 0).await?;
        if attempts_by_task(&events).contains_key(&task) {
            return Ok((proof, events, Some(task)));
        }
    }
    let text = format!(
        "task {task} is not open in any running proof, and none of the newest {MAX_SEARCHED_PROOFS} proofs has \
         assigned it since its last start"
    );
    Err(CliError::usage(format!("{text}\nhint: pass the id of a proof; `sp1d proofs` lists them")).into())
}
