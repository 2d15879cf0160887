//! The subcommands that send requests to a service and print the responses.

use super::{problem::worker_problem, tenants::have_several_tenants};
use crate::{
    args::{
        FetchArguments, LogsArguments, NamedWorkerArguments, ProofArguments, ProofsArguments, RemoteArguments,
        ShowArguments, SubmitArguments, WaitArguments,
    },
    exit::{self, CliError},
    files::{OutputFile, read_elf, read_stdin},
    terminal::print,
};
use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::json;
use sp1d_client::{
    AttemptInfo, Client, EventRecord, NewProof, ProofEvent, ProofFailureKind, ProofState, ProofSummary, WorkerAction,
};
use sp1d_model::{counted, cut_sentence, hint};
use std::{iter, time::Duration};
use tokio::time::{Instant, timeout_at};

pub(in crate::command) async fn status(arguments: ShowArguments) -> Result<()> {
    let client = arguments.remote.client()?;
    let health = client.health().await?;
    if arguments.remote.json {
        return print(&serde_json::to_string(&health)?);
    }
    let count = |state: ProofState| health.proofs.get(state.name()).copied().unwrap_or(0);
    let counts: Vec<String> =
        ProofState::ALL.iter().map(|state| format!("{} {}", count(*state), state.name())).collect();
    print(&format!("service:  {}, release {}", client.url(), health.release))?;
    print(&format!("proofs:   {}", counts.join(", ")))?;
    print(&format!("workers:  {} connected, {} ready", health.workers, health.ready_workers))?;
    if let Some(seconds) = health.archive_age_seconds {
        print(&format!("archive:  complete {seconds} s ago"))?;
    }
    health.warnings.iter().try_for_each(|warning| print(&format!("warning:  {warning}")))
}

fn table<'a>(head: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(head.into_iter().collect::<Vec<_>>());
    table
}

pub(in crate::command) async fn proofs(arguments: ProofsArguments) -> Result<()> {
    let state = ProofState::ALL.into_iter().find(|state| arguments.state.as_deref() == Some(state.name()));
    let found = arguments.remote.client()?.proofs(state, arguments.limit).await?;
    if arguments.remote.json {
        return print(&serde_json::to_string(&found)?);
    }
    print(&proof_table(found).to_string())
}

fn proof_table(found: Vec<ProofSummary>) -> Table {
    let has_tenants = have_several_tenants(&found);
    // Only a service with requests of sp1-sdk's network client has requesters.
    let has_requesters = found.iter().any(|proof| proof.requester.is_some());
    let (tenant, requester) = (has_tenants.then_some("tenant"), has_requesters.then_some("requester"));
    let columns = iter::once("proof").chain(tenant).chain(["mode", "state", "priority", "tasks", "accepted"]);
    let mut table = table(columns.chain(requester).chain(["failure"]));
    for proof in found {
        let (mode, state) = (proof.mode.name().to_owned(), proof.state.name().to_owned());
        let (priority, created) = (proof.priority.to_string(), proof.created.to_string());
        let tasks = format!("{}/{}", proof.tasks.done, proof.tasks.known);
        let (failure, _) = hint::separate(proof.failure.map(|failure| failure.text));
        let tenant = has_tenants.then_some(proof.tenant);
        let requester = has_requesters.then(|| proof.requester.unwrap_or_default());
        let row = iter::once(proof.id).chain(tenant).chain([mode, state, priority, tasks, created]);
        table.add_row(row.chain(requester).chain([failure]));
    }
    table
}

pub(in crate::command) async fn workers(arguments: ShowArguments) -> Result<()> {
    let found = arguments.remote.client()?.workers().await?;
    if arguments.remote.json {
        return print(&serde_json::to_string(&found.workers)?);
    }
    // Only a pool with certificates has trusted workers.
    let has_trusted = found.workers.iter().any(|worker| worker.trusted);
    let trust = has_trusted.then_some("trusted");
    let columns = ["worker", "address", "state"].into_iter().chain(trust);
    let mut table = table(columns.chain(["tasks now", "done", "failed", "threads", "memory", "problem"]));
    for worker in found.workers {
        let numbers = [worker.holds.to_string(), worker.done.to_string(), worker.failed_attempts.to_string()];
        let known = |text: String, is_known: bool| if is_known { text } else { String::new() };
        let threads = known(worker.threads.to_string(), worker.threads > 0);
        let memory = known(format!("{} GB", worker.memory_bytes / 1_000_000_000), worker.memory_bytes > 0);
        let why = worker_problem(&worker);
        let trust = has_trusted.then(|| known("yes".to_owned(), worker.trusted));
        let row = [worker.name, worker.address, worker.state.to_string()].into_iter().chain(trust).chain(numbers);
        table.add_row(row.chain([threads, memory, why]));
    }
    print(&table.to_string())?;
    if let Some(error) = found.list.error {
        print(&format!("the worker list was not reloaded: {error}"))?;
    }
    Ok(())
}

pub(in crate::command) async fn submit(arguments: SubmitArguments) -> Result<()> {
    let program = read_elf(&arguments.program.elf)?;
    let stdin = read_stdin(arguments.program.stdin.as_deref(), &arguments.program.input)?;
    let client = arguments.remote.client()?;
    let program = client.add_program(program.into()).await?;
    let input = client.add_input(stdin.into()).await?;
    let request = NewProof {
        program: Some(program.id),
        input: Some(input),
        mode: arguments.mode,
        cycle_limit: arguments.program.cycle_limit,
        gas_limit: arguments.limits.gas_limit,
        timeout_seconds: arguments.program.timeout,
        priority: arguments.priority,
        trusted_only: arguments.trusted_only,
        idempotency_key: arguments.idempotency_key,
        ..NewProof::default()
    };
    let proof = client.submit(&request).await?;
    if !arguments.wait {
        return show(&proof, &arguments.remote, || print(&proof.id));
    }
    if !arguments.remote.json {
        print(&proof.id)?;
    }
    wait_for(&client, &proof.id, None, &arguments.remote).await
}

/// Prints a proof: as JSON, or with `table`.
fn show(proof: &ProofSummary, remote: &RemoteArguments, table: impl FnOnce() -> Result<()>) -> Result<()> {
    if remote.json { print(&serde_json::to_string(proof)?) } else { table() }
}

pub(in crate::command) async fn wait(arguments: WaitArguments) -> Result<()> {
    let ProofArguments { proof, remote } = arguments.proof;
    let limit = arguments.timeout.map(Duration::from_secs);
    wait_for(&remote.client()?, &proof, limit, &remote).await
}

/// Waits until the proof has ended, even if connections are lost or the service restarts. A failed proof makes this
/// command fail.
async fn wait_for(client: &Client, id: &str, limit: Option<Duration>, remote: &RemoteArguments) -> Result<()> {
    // An unknown proof or an unreachable service fails at once. The large event number makes `follow` skip all events.
    let end = client.follow(client.proof(id).await?, u64::MAX >> 1, None, |_| {});
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let proof = match deadline {
        None => end.await?,
        Some(deadline) => timeout_at(deadline, end).await.map_err(|_| {
            let seconds = limit.unwrap_or_default().as_secs();
            let text = format!("proof {id} did not end within {seconds} s; it continues");
            CliError::new(exit::TIMEOUT, format!("{text}\nhint: wait again with `sp1d wait {id}`"))
        })??,
    };
    show(&proof, remote, || {
        print(&format!(
            "proof {} is {}{}",
            proof.id,
            proof.state.name(),
            proof.shards.map(|shards| format!(": {}", counted(shards, "shard"))).unwrap_or_default()
        ))
    })?;
    outcome(&proof)
}

/// Returns the command's result for a proof that has ended.
fn outcome(proof: &ProofSummary) -> Result<()> {
    let code = match (proof.state, proof.failure.as_ref().map(|failure| failure.kind)) {
        (ProofState::Cancelled, _) => exit::INTERRUPTED,
        (ProofState::Failed, Some(ProofFailureKind::Program | ProofFailureKind::GasLimit)) => exit::PROGRAM,
        (ProofState::Failed, Some(ProofFailureKind::Request)) => exit::USAGE,
        (ProofState::Failed, Some(ProofFailureKind::Machine | ProofFailureKind::Interrupted)) => exit::HOST,
        (
            ProofState::Failed,
            Some(ProofFailureKind::NoWorkers | ProofFailureKind::Unsupported | ProofFailureKind::OutOfMemory),
        ) => exit::WORKERS,
        (ProofState::Failed, Some(ProofFailureKind::Timeout)) => exit::TIMEOUT,
        (ProofState::Failed, _) => exit::OTHER,
        (ProofState::Queued | ProofState::Running | ProofState::Done, _) => return Ok(()),
    };
    let text = proof
        .failure
        .as_ref()
        .map_or_else(|| format!("proof {} was cancelled", proof.id), |failure| failure.text.clone());
    Err(CliError::new(code, text).into())
}

pub(in crate::command) async fn cancel(arguments: ProofArguments) -> Result<()> {
    let proof = arguments.remote.client()?.cancel(&arguments.proof).await?;
    show(&proof, &arguments.remote, || match proof.state {
        ProofState::Running => print(&format!("proof {} is being cancelled", proof.id)),
        state => print(&format!("proof {} is {}", proof.id, state.name())),
    })
}

pub(in crate::command) async fn delete(ProofArguments { proof, remote }: ProofArguments) -> Result<()> {
    let is_deleted = remote.client()?.delete(&proof).await?;
    if remote.json {
        return print(&json!({ "proof": proof, "deleted": is_deleted }).to_string());
    }
    if is_deleted {
        print(&format!("proof {proof} and its data are deleted"))
    } else {
        print(&format!("the service has no proof {proof}: nothing to delete"))
    }
}

pub(in crate::command) async fn fetch(arguments: FetchArguments) -> Result<()> {
    let output = OutputFile::reserve(&arguments.file)?;
    let content = arguments.remote.client()?.fetch(&arguments.proof).await?;
    output.commit(&content)?;
    if arguments.remote.json {
        let file = arguments.file.display().to_string();
        return print(&json!({ "proof": arguments.proof, "file": file, "bytes": content.len() }).to_string());
    }
    print(&format!("wrote {} to {}", counted(content.len(), "byte"), arguments.file.display()))
}

pub(in crate::command) async fn logs(arguments: LogsArguments) -> Result<()> {
    let ProofArguments { proof: id, remote } = arguments.proof;
    let client = remote.client()?;
    let proof = client.proof(&id).await?;
    // If the proof has already ended, these are all of its events.
    let past = client.past_events(&id, 0).await?;
    past.iter().try_for_each(|event| print_event(event, &remote))?;
    if !arguments.follow {
        return Ok(());
    }
    let last = past.last().map_or(0, |event| event.number);
    let mut printed = Ok(());
    let on_event = |event: &EventRecord| {
        if printed.is_ok() {
            printed = print_event(event, &remote);
        }
    };
    client.follow(proof, last, None, on_event).await?;
    printed
}

fn print_event(record: &EventRecord, remote: &RemoteArguments) -> Result<()> {
    let value = serde_json::to_value(record)?;
    if remote.json {
        return print(&value.to_string());
    }
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let task = |attempt: &AttemptInfo| format!("task {} ({})", attempt.task.0, attempt.kind);
    let what = match &record.event {
        ProofEvent::Queued => "accepted".to_owned(),
        ProofEvent::Started { start: 1 } => "started".to_owned(),
        ProofEvent::Started { start } => format!("started again (start {start})"),
        ProofEvent::Submitted { kind } => format!("new task: {kind}"),
        ProofEvent::CachedResult { kind } => format!("task not needed, its result is in the cache: {kind}"),
        ProofEvent::Assigned(attempt) => format!("{} assigned to {}", task(attempt), attempt.worker),
        ProofEvent::Proving(attempt) => format!("{} started on {}", task(attempt), attempt.worker),
        ProofEvent::Interrupted(attempt) => {
            format!("{} was interrupted on {}: the worker disconnected", task(attempt), attempt.worker)
        }
        ProofEvent::TakenBack(attempt) => format!("{} was taken back from {}", task(attempt), attempt.worker),
        ProofEvent::Continued(attempt) => format!("{} continues on {}", task(attempt), attempt.worker),
        ProofEvent::Done(attempt) => format!("{} done on {}", task(attempt), attempt.worker),
        ProofEvent::AttemptFailed { attempt, reason } => {
            format!("{} failed on {}: {reason}", task(attempt), attempt.worker)
        }
        ProofEvent::Dropped(attempt) => {
            format!("{} ended on {}: its result is no longer needed", task(attempt), attempt.worker)
        }
        ProofEvent::Executed { cycles, unread_values: 0 } => {
            format!("the program ran to its end: {}", counted(*cycles, "cycle"))
        }
        ProofEvent::Executed { cycles, unread_values } => format!(
            "the program ran to its end: {}; it did not read {}",
            counted(*cycles, "cycle"),
            counted(*unread_values, "input value")
        ),
        ProofEvent::Cut { setting, reason, .. } => cut_sentence(setting, reason),
        ProofEvent::WorkerReady { worker } => format!("worker {worker} is ready"),
        ProofEvent::WorkerDraining { worker } => {
            format!("worker {worker} is draining: it finishes the tasks that it has started, and gets no others")
        }
        ProofEvent::WorkerLost { worker, reason } => format!("worker {worker} disconnected: {reason}"),
        ProofEvent::Restarted { reason } => format!("the proof restarted: {reason}"),
        ProofEvent::Verifying => "all tasks are done; verifying the proof".to_owned(),
        ProofEvent::Finished { state, failure } => {
            let texts = failure.as_ref().map(|failure| failure.text.clone());
            hint::separate(iter::once(state.name().to_owned()).chain(texts)).0
        }
        _ => text("event"),
    };
    print(&format!("{}  {what}", text("at")))
}

async fn act_on_worker(arguments: NamedWorkerArguments, what: WorkerAction, done: &str) -> Result<()> {
    arguments.remote.client()?.act_on_worker(&arguments.worker, what).await?;
    if arguments.remote.json {
        return print(&json!({ "worker": arguments.worker }).to_string());
    }
    print(&format!("worker {} {done}", arguments.worker))
}

pub(in crate::command) async fn drain(arguments: NamedWorkerArguments) -> Result<()> {
    act_on_worker(arguments, WorkerAction::Drain, "finishes the tasks that it has started and gets no new ones").await
}

pub(in crate::command) async fn resume(arguments: NamedWorkerArguments) -> Result<()> {
    act_on_worker(arguments, WorkerAction::Resume, "gets tasks again").await
}

pub(in crate::command) async fn forget(arguments: NamedWorkerArguments) -> Result<()> {
    act_on_worker(arguments, WorkerAction::Forget, "was removed").await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which of `texts` are in the table of proofs of these tenants.
    #[track_caller]
    fn check_table(tenants: &[&str], texts: [(&str, bool); 3]) {
        let proof = |tenant: &&str| {
            serde_json::from_value(json!({
                "id": "0123456789ab", "tenant": tenant, "program": "", "input": "", "mode": "core", "state": "queued",
                "priority": 0, "nonce": [0, 0, 0, 0], "created": "2026-01-01T00:00:10Z", "starts": 1,
                "tasks": {"known": 0, "done": 0, "cached": 0}, "workers": []
            }))
            .unwrap()
        };
        let shown = proof_table(tenants.iter().map(proof).collect()).to_string();
        for (text, expected) in texts {
            assert_eq!(shown.contains(text), expected, "{text:?} in\n{shown}");
        }
    }

    #[test]
    fn tenants_are_shown_only_if_there_are_several() {
        check_table(&[], [("proof", true), ("tenant", false), ("team", false)]);
        check_table(&["team-a", "team-a"], [("0123456789ab", true), ("tenant", false), ("team", false)]);
        check_table(&["team-a", "team-b", "team-b"], [("tenant", true), ("team-a", true), ("team-b", true)]);
    }
}
