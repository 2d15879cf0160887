//! `sp1d explain`: why a proof is where it is, what it waits for, and what was tried.

use super::{program::print, remote::why};
use crate::{
    args::{ExplainArguments, OutputForm},
    exit::Failure,
};
use anyhow::Result;
use client::{Attempt, Client, EventRecord, Health, Moment, Proof, ProofEvent, ProofState, Worker};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// An id of a proof has as many digits; what has fewer, and none but 0 to 9, is a task.
const PROOF_DIGITS: usize = 12;

/// In how many proofs a task is looked for, the newest.
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

/// The proof that `what` is or that has the task of this number, with its events.
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
    let text = format!(
        "none of the newest {LOOKED_AT} proofs has a task {task} that was given to a worker since it was last begun"
    );
    Err(Failure::usage(text).into())
}

/// Those of all tasks, or of one.
fn shown(tries: &BTreeMap<u64, TaskTries>, only: Option<u64>) -> impl Iterator<Item = (u64, &TaskTries)> {
    tries.iter().map(|(task, tries)| (*task, tries)).filter(move |(task, _)| only.is_none_or(|only| *task == only))
}

/// What a service says of itself at the moment.
struct Now {
    /// Proofs that wait, the newest first.
    queued: Vec<Proof>,
    health: Health,
    workers: Vec<Worker>,
    at: Moment,
}

/// What was tried of a task.
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
    /// When it came to this step.
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
    /// Its worker was.
    Lost(String),
}

impl Step {
    fn is_open(&self) -> bool {
        matches!(self, Self::Assigned | Self::Proving)
    }
}

/// The attempts since the proof was last begun, by task.
fn tries(events: &[EventRecord]) -> BTreeMap<u64, TaskTries> {
    let mut tasks: BTreeMap<u64, TaskTries> = BTreeMap::new();
    for EventRecord { at, event, .. } in events {
        let (attempt, step) = match event {
            // Tasks so far no longer count.
            ProofEvent::Started { .. } | ProofEvent::Restarted { .. } => {
                tasks.clear();
                continue;
            }
            ProofEvent::Assigned(attempt) => (attempt, Step::Assigned),
            ProofEvent::Proving(attempt) => (attempt, Step::Proving),
            ProofEvent::Done(attempt) => (attempt, Step::Done),
            ProofEvent::AttemptFailed { attempt, reason } => (attempt, Step::Failed(reason.clone())),
            ProofEvent::Dropped(attempt) => (attempt, Step::Dropped),
            // It may come back and go on, and then its end is told.
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

/// A proof's whole story, a sentence a line.
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
            "proof {id} is done: {} shards, {} tasks, of which {} had been done before",
            proof.shards.unwrap_or(0),
            proof.tasks.known,
            proof.tasks.remembered
        )],
        ProofState::Cancelled => vec![format!("proof {id} was cancelled: nobody wants it any more")],
        ProofState::Failed => {
            let failure = proof.failure.as_ref().map(|failure| format!("{} ({})", failure.text, failure.kind));
            let first = format!("proof {id} failed: {}", failure.unwrap_or_default());
            std::iter::once(first).chain(failures(tries, only)).collect()
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
        "proof {id} waits for its turn: {running} of at most {places} proofs run, {before} are before it (its priority is {priority})"
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
        "proof {} runs{}{}",
        proof.id,
        proof.started.map(|started| format!(" since {started}")).unwrap_or_default(),
        if proof.starts > 1 { format!(", begun {} times", proof.starts) } else { String::new() },
    )];
    if let Some(reason) = recent.first().and_then(|record| match &record.event {
        ProofEvent::Restarted { reason } => Some(reason),
        _ => None,
    }) {
        said.push(format!("it was begun again: {reason}"));
    }
    said.extend(cut(events));
    if has(|event| matches!(event, ProofEvent::Verifying)) {
        said.push("all its parts are there; the whole is being verified".to_owned());
        return said;
    }
    if !has(|event| matches!(event, ProofEvent::Executed { .. })) {
        said.push("the program is still running: tasks come while it does".to_owned());
    }
    let is_held = |task: &&TaskTries| {
        !task.tries.iter().any(|one| one.step == Step::Done) && task.tries.iter().any(|one| one.step.is_open())
    };
    let held = tries.values().filter(is_held).count() as u64;
    let waiting = proof.tasks.known.saturating_sub(proof.tasks.done).saturating_sub(held);
    said.push(format!(
        "{} of {} known tasks are done, {} of them before; {held} are with workers, {waiting} wait for one",
        proof.tasks.done, proof.tasks.known, proof.tasks.remembered
    ));
    for (task, TaskTries { kind, tries }) in shown(tries, only) {
        for one in tries {
            let seconds = (now.at.0 - one.since.0).max(0) / 1000;
            let worker = &one.worker;
            match &one.step {
                Step::Assigned => said.push(format!("task {task} ({kind}) waits at {worker}, for {seconds} s")),
                Step::Proving => {
                    said.push(format!("task {task} ({kind}) is being proven by {worker}, for {seconds} s"));
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

/// How the run is cut, if that was chosen. A choice counts until the next, also over restarts.
fn cut(events: &[EventRecord]) -> Option<String> {
    events.iter().rev().find_map(|record| match &record.event {
        ProofEvent::Cut { name, reason } => Some(format!("its run is cut by {name}: {reason}")),
        _ => None,
    })
}

/// What was tried in vain.
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

/// Why what waits is given to nobody.
fn obstacles(workers: &[Worker]) -> Vec<String> {
    let is_of = |worker: &Worker, states: &[&str]| states.contains(&worker.state.as_str());
    if workers.iter().all(|worker| is_of(worker, &["lost"])) {
        let lost = workers.iter().map(|worker| format!("worker {} is lost: {}", worker.name, why(worker)));
        return std::iter::once("no worker is connected".to_owned()).chain(lost).collect();
    }
    let mut said = Vec::new();
    if workers.iter().any(|worker| is_of(worker, &["busy"])) {
        said.push("the workers hold as many as they may (SHARD_BATCH_SIZE)".to_owned());
    }
    for worker in workers {
        let reason = match worker.state.as_str() {
            "starting" => "is loading its prover".to_owned(),
            "draining" | "drained" => "is drained: `sp1d resume` gives it tasks again".to_owned(),
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

    /// What is said, among the workers, of `proof` with these events, of which each happened a second after the one
    /// before.
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
    fn a_proof_that_waits_is_told_who_is_before_it() {
        let other = |priority, created: i64| {
            proof(|proof| (proof.priority, proof.created) = (priority, Moment(proof.created.0 + created)))
        };
        let queued = vec![other(0, 1), other(1, 1), other(0, -1), other(-1, -1), proof(|_| {})];
        let expected =
            "proof 0123456789ab waits for its turn: 2 of at most 2 proofs run, 2 are before it (its priority is 0)";
        check(proof(|_| {}), vec![ProofEvent::Queued], vec![], queued, &[expected]);
    }

    #[test]
    fn what_a_running_proof_waits_for_and_what_was_tried_is_told() {
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
                "proof 0123456789ab runs",
                "it was begun again: the executor was killed",
                "its run is cut by ELEMENT_THRESHOLD=7: the workers are small",
                "the program is still running: tasks come while it does",
                "2 of 5 known tasks are done, 1 of them before; 1 are with workers, 2 wait for one",
                "task 1 (prove_shard) is being proven by two, for 3 s",
                "task 1 (prove_shard) failed on one: it died",
                "task 3 (prove_shard) was lost with four: it was silent",
                "the workers hold as many as they may (SHARD_BATCH_SIZE)",
                "worker one is drained: `sp1d resume` gives it tasks again",
                "worker three is loading its prover",
            ],
        );
    }

    #[test]
    fn a_proof_without_workers_says_where_they_are() {
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
                "proof 0123456789ab runs",
                "0 of 1 known tasks are done, 0 of them before; 0 are with workers, 1 wait for one",
                "no worker is connected",
                "worker one is lost: the connection was closed; now: connection refused",
            ],
        );
    }
}
