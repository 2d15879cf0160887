//! `sp1d explain`: explains the state of a proof, what it waits for, and which attempts failed.

use super::{program::print, remote::why};
use crate::{
    args::{ExplainArguments, OutputForm},
    exit::{Failure, split_hints},
};
use anyhow::Result;
use client::{Attempt, Client, EventRecord, Health, Moment, Proof, ProofEvent, ProofState, Worker};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Digits of a proof's id. A shorter argument that consists of decimal digits is the number of a task.
const PROOF_DIGITS: usize = 12;

/// A task is searched for in this many of the newest proofs.
const LOOKED_AT: u32 = 100;

pub(crate) async fn run(arguments: ExplainArguments) -> Result<()> {
    let ExplainArguments { what, remote } = arguments;
    let client = Client::new(&remote.url)?;
    let (proof, events, only) = find(&client, &what).await?;
    let tries = tries(&events);
    let now = Now {
        queued: client.proofs(Some(ProofState::Queued), 1000).await?,
        health: client.health().await?,
        workers: client.workers().await?.workers,
        at: Moment::now(),
    };
    let sentences = explain(&proof, &events, &tries, only, &now);
    let shown: BTreeMap<u64, &TaskTries> = shown(&tries, only).collect();
    if remote.output == OutputForm::Json {
        return print(&json!({ "proof": proof, "sentences": sentences, "tasks": shown }).to_string());
    }
    print(&sentences.join("\n"))
}

/// Finds the proof that `what` names: by its own id, or by the number of one of its tasks. Returns the proof, its
/// events, and the task's number if `what` is a task.
async fn find(client: &Client, what: &str) -> Result<(Proof, Vec<EventRecord>, Option<u64>)> {
    let is_task = what.len() < PROOF_DIGITS && what.bytes().all(|digit| digit.is_ascii_digit());
    let Some(task) = what.parse::<u64>().ok().filter(|_| is_task) else {
        let proof = client.proof(what).await?;
        let events = client.past_events(what, 0).await?;
        return Ok((proof, events, None));
    };
    for proof in client.proofs(None, LOOKED_AT).await? {
        let events = client.past_events(&proof.id, 0).await?;
        if tries(&events).contains_key(&task) {
            return Ok((proof, events, Some(task)));
        }
    }
    let text = format!("none of the newest {LOOKED_AT} proofs has assigned a task {task} since its last start");
    Err(Failure::usage(format!("{text}\nhint: pass the id of a proof; `sp1d proofs` lists them")).into())
}

/// Returns the entries of all tasks, or only the entry of task `only`.
fn shown(tries: &BTreeMap<u64, TaskTries>, only: Option<u64>) -> impl Iterator<Item = (u64, &TaskTries)> {
    tries.iter().map(|(task, tries)| (*task, tries)).filter(move |(task, _)| only.is_none_or(|only| *task == only))
}

/// The current state of a service.
struct Now {
    /// Queued proofs, the newest first.
    queued: Vec<Proof>,
    health: Health,
    workers: Vec<Worker>,
    at: Moment,
}

/// The attempts of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct TaskTries {
    kind: String,
    tries: Vec<Try>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Try {
    attempt: u64,
    worker: String,
    step: Step,
    /// When the attempt reached this step.
    since: Moment,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Assigned,
    Proving,
    Done,
    Failed(String),
    Dropped,
    /// The attempt's worker was lost, for this reason.
    Lost(String),
}

impl Step {
    fn is_open(&self) -> bool {
        matches!(self, Self::Assigned | Self::Proving)
    }
}

/// Returns the attempts by task, since the proof last started or restarted.
fn tries(events: &[EventRecord]) -> BTreeMap<u64, TaskTries> {
    let mut tasks: BTreeMap<u64, TaskTries> = BTreeMap::new();
    for EventRecord { at, event, .. } in events {
        let (attempt, step) = match event {
            // A start discards all earlier tasks.
            ProofEvent::Started { .. } | ProofEvent::Restarted { .. } => {
                tasks.clear();
                continue;
            }
            ProofEvent::Assigned(attempt) => (attempt, Step::Assigned),
            ProofEvent::Proving(attempt) => (attempt, Step::Proving),
            ProofEvent::Done(attempt) => (attempt, Step::Done),
            ProofEvent::AttemptFailed { attempt, reason } => (attempt, Step::Failed(reason.clone())),
            ProofEvent::Dropped(attempt) => (attempt, Step::Dropped),
            // The worker may come back and continue the attempt. A later event then replaces this step.
            ProofEvent::WorkerLost { worker, reason } => {
                let tries = tasks.values_mut().flat_map(|task| &mut task.tries);
                for one in tries.filter(|one| one.worker == *worker && one.step.is_open()) {
                    (one.step, one.since) = (Step::Lost(reason.clone()), *at);
                }
                continue;
            }
            ProofEvent::Queued
            | ProofEvent::Submitted { .. }
            | ProofEvent::Remembered { .. }
            | ProofEvent::Executed { .. }
            | ProofEvent::Cut { .. }
            | ProofEvent::WorkerReady { .. }
            | ProofEvent::Verifying
            | ProofEvent::Finished { .. } => continue,
        };
        note(&mut tasks, attempt, step, *at);
    }
    tasks
}

fn note(tasks: &mut BTreeMap<u64, TaskTries>, attempt: &Attempt, step: Step, since: Moment) {
    let task = tasks.entry(attempt.task).or_insert_with(|| TaskTries { kind: attempt.kind.clone(), tries: Vec::new() });
    match task.tries.iter_mut().find(|known| known.attempt == attempt.attempt) {
        Some(known) => (known.step, known.since) = (step, since),
        None => task.tries.push(Try { attempt: attempt.attempt, worker: attempt.worker.clone(), step, since }),
    }
}

/// Explains the proof, one sentence per line.
fn explain(
    proof: &Proof,
    events: &[EventRecord],
    tries: &BTreeMap<u64, TaskTries>,
    only: Option<u64>,
    now: &Now,
) -> Vec<String> {
    let id = &proof.id;
    match proof.state {
        ProofState::Queued => vec![queue(proof, now)],
        ProofState::Running => running(proof, events, tries, only, now),
        ProofState::Done => vec![format!(
            "proof {id} is done: {} shards, {} tasks, {} of them with a result from the cache",
            proof.shards.unwrap_or(0),
            proof.tasks.known,
            proof.tasks.remembered
        )],
        ProofState::Cancelled => vec![format!("proof {id} was cancelled")],
        ProofState::Failed => {
            let (text, hints) = split_hints(proof.failure.as_ref().map(|failure| failure.text.clone()));
            let kind = proof.failure.as_ref().map(|failure| format!(" ({})", failure.kind)).unwrap_or_default();
            let first = format!("proof {id} failed: {text}{kind}");
            let hints = hints.into_iter().map(|hint| format!("hint: {hint}"));
            std::iter::once(first).chain(failures(tries, only)).chain(hints).collect()
        }
    }
}

fn queue(proof: &Proof, now: &Now) -> String {
    let is_before = |other: &&Proof| {
        other.priority > proof.priority || (other.priority == proof.priority && other.created < proof.created)
    };
    let before = now.queued.iter().filter(is_before).count();
    let running = now.health.proofs.get(ProofState::Running.name()).copied().unwrap_or(0);
    let (id, priority, places) = (&proof.id, proof.priority, now.health.parallel_proofs);
    format!(
        "proof {id} is queued: {running} of at most {places} proofs are running, {before} queued proofs are ahead of it \
         (its priority is {priority})"
    )
}

fn running(
    proof: &Proof,
    events: &[EventRecord],
    tries: &BTreeMap<u64, TaskTries>,
    only: Option<u64>,
    now: &Now,
) -> Vec<String> {
    let since_begun = events
        .iter()
        .rposition(|record| matches!(record.event, ProofEvent::Started { .. } | ProofEvent::Restarted { .. }));
    let recent = &events[since_begun.unwrap_or(0)..];
    let has = |is: fn(&ProofEvent) -> bool| recent.iter().any(|record| is(&record.event));
    let mut said = vec![format!(
        "proof {} {}{}",
        proof.id,
        proof.started.map_or("is running".to_owned(), |started| format!("has been running since {started}")),
        if proof.starts > 1 { format!(", started {} times", proof.starts) } else { String::new() },
    )];
    if let Some(reason) = recent.first().and_then(|record| match &record.event {
        ProofEvent::Restarted { reason } => Some(reason),
        _ => None,
    }) {
        said.push(format!("the proof restarted: {reason}"));
    }
    said.extend(cut(events));
    if has(|event| matches!(event, ProofEvent::Verifying)) {
        said.push("all tasks are done; the finished proof is being verified".to_owned());
        return said;
    }
    if !has(|event| matches!(event, ProofEvent::Executed { .. })) {
        said.push("the program is still executing and creates more tasks".to_owned());
    }
    let is_held = |task: &&TaskTries| {
        !task.tries.iter().any(|one| one.step == Step::Done) && task.tries.iter().any(|one| one.step.is_open())
    };
    let held = tries.values().filter(is_held).count() as u64;
    let waiting = proof.tasks.known.saturating_sub(proof.tasks.done).saturating_sub(held);
    said.push(format!(
        "{} of {} known tasks are done, {} of them from the cache; {held} are assigned, {waiting} are waiting",
        proof.tasks.done, proof.tasks.known, proof.tasks.remembered
    ));
    for (task, TaskTries { kind, tries }) in shown(tries, only) {
        for one in tries {
            let seconds = (now.at.0 - one.since.0).max(0) / 1000;
            let worker = &one.worker;
            match &one.step {
                Step::Assigned => {
                    said.push(format!("task {task} ({kind}) has been waiting on {worker} for {seconds} s"));
                }
                Step::Proving => {
                    said.push(format!("task {task} ({kind}) has been proving on {worker} for {seconds} s"));
                }
                Step::Done | Step::Failed(_) | Step::Dropped | Step::Lost(_) => {}
            }
        }
    }
    said.extend(failures(tries, only));
    if waiting > 0 {
        said.extend(obstacles(&now.workers));
    }
    said
}

/// Describes the cut that was chosen last. A choice stays valid until the next one, also after restarts.
fn cut(events: &[EventRecord]) -> Option<String> {
    events.iter().rev().find_map(|record| match &record.event {
        ProofEvent::Cut { name, reason } => Some(format!("cut {name}: {reason}")),
        _ => None,
    })
}

/// Lists the attempts that failed or were lost.
fn failures(tries: &BTreeMap<u64, TaskTries>, only: Option<u64>) -> Vec<String> {
    let mut said = Vec::new();
    for (task, TaskTries { kind, tries }) in shown(tries, only) {
        for Try { worker, step, .. } in tries {
            match step {
                Step::Failed(reason) => said.push(format!("task {task} ({kind}) failed on {worker}: {reason}")),
                Step::Lost(reason) => said.push(format!("task {task} ({kind}) was lost with {worker}: {reason}")),
                Step::Assigned | Step::Proving | Step::Done | Step::Dropped => {}
            }
        }
    }
    said
}

/// Explains why waiting tasks are not assigned to any worker.
fn obstacles(workers: &[Worker]) -> Vec<String> {
    let is_of = |worker: &Worker, states: &[&str]| states.contains(&worker.state.as_str());
    if workers.iter().all(|worker| is_of(worker, &["lost"])) {
        let lost = workers.iter().map(|worker| format!("worker {} is lost: {}", worker.name, why(worker)));
        return std::iter::once("no worker is connected".to_owned()).chain(lost).collect();
    }
    let mut said = Vec::new();
    if workers.iter().any(|worker| is_of(worker, &["busy"])) {
        said.push("the busy workers hold as many tasks as they may (SHARD_BATCH_SIZE)".to_owned());
    }
    for worker in workers {
        let reason = match worker.state.as_str() {
            "starting" => "is loading its prover".to_owned(),
            "draining" | "drained" => format!("is drained; `sp1d resume {}` gives it new tasks again", worker.name),
            "quarantined" | "lost" => format!("is {}: {}", worker.state, why(worker)),
            _ => continue,
        };
        said.push(format!("worker {} {reason}", worker.name));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(change: impl FnOnce(&mut Proof)) -> Proof {
        let mut proof = serde_json::from_value(json!({
            "id": "0123456789ab", "program": "", "input": "", "mode": "core", "state": "queued", "priority": 0, "nonce": [0, 0, 0, 0],
            "created": "2026-01-01T00:00:10Z", "starts": 1, "tasks": {"known": 0, "done": 0, "remembered": 0}, "workers": []
        }))
        .unwrap();
        change(&mut proof);
        proof
    }

    fn attempt(task: u64, attempt: u64, worker: &str) -> Attempt {
        Attempt { task, attempt, kind: "prove_shard".to_owned(), cycles: 0, worker: worker.to_owned() }
    }

    fn worker(name: &str, state: &str) -> Worker {
        Worker { name: name.to_owned(), state: state.to_owned(), ..Worker::default() }
    }

    /// Checks the explanation of `proof` with these `events`, which are one second apart, these workers and these
    /// queued proofs.
    #[track_caller]
    fn check(proof: Proof, events: Vec<ProofEvent>, workers: Vec<Worker>, queued: Vec<Proof>, expected: &[&str]) {
        let record = |(second, event): (i64, ProofEvent)| EventRecord { number: 1, at: Moment(second * 1000), event };
        let events: Vec<EventRecord> = (0..).zip(events).map(record).collect();
        let mut health = Health { parallel_proofs: 2, ..Health::default() };
        health.proofs.insert("running".to_owned(), 2);
        let now = Now { queued, health, workers, at: Moment(10_000) };
        assert_eq!(explain(&proof, &events, &tries(&events), None, &now), expected);
    }

    #[test]
    fn a_queued_proof_shows_how_many_proofs_are_ahead() {
        let other = |priority, created: i64| {
            proof(|proof| (proof.priority, proof.created) = (priority, Moment(proof.created.0 + created)))
        };
        let queued = vec![other(0, 1), other(1, 1), other(0, -1), other(-1, -1), proof(|_| {})];
        let expected = "proof 0123456789ab is queued: 2 of at most 2 proofs are running, 2 queued proofs are ahead of it \
                        (its priority is 0)";
        check(proof(|_| {}), vec![ProofEvent::Queued], vec![], queued, &[expected]);
    }

    #[test]
    fn a_running_proof_shows_its_waiting_tasks_and_failed_attempts() {
        let running = proof(|proof| {
            proof.state = ProofState::Running;
            (proof.tasks.known, proof.tasks.done, proof.tasks.remembered) = (5, 2, 1);
        });
        let events = vec![
            ProofEvent::Started { start: 1 },
            ProofEvent::Cut { name: "ELEMENT_THRESHOLD=7".to_owned(), reason: "the workers are small".to_owned() },
            ProofEvent::Assigned(attempt(9, 1, "before")),
            ProofEvent::Restarted { reason: "the executor was killed".to_owned() },
            ProofEvent::Assigned(attempt(1, 2, "one")),
            ProofEvent::Proving(attempt(1, 2, "one")),
            ProofEvent::AttemptFailed { attempt: attempt(1, 2, "one"), reason: "it died".to_owned() },
            ProofEvent::Proving(attempt(1, 3, "two")),
            ProofEvent::Done(attempt(2, 4, "two")),
            ProofEvent::Proving(attempt(3, 5, "four")),
            ProofEvent::WorkerLost { worker: "four".to_owned(), reason: "it was silent".to_owned() },
        ];
        let workers = vec![worker("one", "drained"), worker("two", "busy"), worker("three", "starting")];
        check(
            running,
            events,
            workers,
            vec![],
            &[
                "proof 0123456789ab is running",
                "the proof restarted: the executor was killed",
                "cut ELEMENT_THRESHOLD=7: the workers are small",
                "the program is still executing and creates more tasks",
                "2 of 5 known tasks are done, 1 of them from the cache; 1 are assigned, 2 are waiting",
                "task 1 (prove_shard) has been proving on two for 3 s",
                "task 1 (prove_shard) failed on one: it died",
                "task 3 (prove_shard) was lost with four: it was silent",
                "the busy workers hold as many tasks as they may (SHARD_BATCH_SIZE)",
                "worker one is drained; `sp1d resume one` gives it new tasks again",
                "worker three is loading its prover",
            ],
        );
    }

    #[test]
    fn a_proof_without_workers_explains_why_they_are_lost() {
        let running = proof(|proof| (proof.state, proof.tasks.known) = (ProofState::Running, 1));
        let mut lost = worker("one", "lost");
        lost.lost = Some(client::Lost {
            since: Moment(0),
            reason: "the connection was closed".to_owned(),
            last_try: Some("connection refused".to_owned()),
        });
        check(
            running,
            vec![ProofEvent::Started { start: 1 }, ProofEvent::Executed { cycles: 1 }],
            vec![lost],
            vec![],
            &[
                "proof 0123456789ab is running",
                "0 of 1 known tasks are done, 0 of them from the cache; 0 are assigned, 1 are waiting",
                "no worker is connected",
                "worker one is lost: the connection was closed; last connection attempt: connection refused",
            ],
        );
    }
}
