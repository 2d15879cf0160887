//! Explains the state of a proof in sentences. This module performs no I/O.

use super::{
    attempts::{ExplainedAttempt, ExplainedStep, ExplainedTask, shown},
    queue::explain_queue,
};
use sp1d_client::{
    EventRecord, Health, OpenTask, OpenTaskState, OpenTasks, ProofEvent, ProofState, ProofSummary, WaitCode,
};
use sp1d_model::{counted, cut_sentence, hint};
use std::collections::BTreeMap;

/// The current state of a service.
pub(super) struct ExplainContext {
    /// The newest queued proofs, the newest first.
    pub(super) queued: Vec<ProofSummary>,
    pub(super) health: Health,
    /// The open tasks of the explained proof, or only the explained task among them.
    pub(super) open: OpenTasks,
}

/// Explains the proof, one sentence per line.
pub(super) fn explain(
    proof: &ProofSummary,
    events: &[EventRecord],
    attempts: &BTreeMap<u64, ExplainedTask>,
    only: Option<u64>,
    context: &ExplainContext,
) -> Vec<String> {
    let id = &proof.id;
    match proof.state {
        ProofState::Queued => explain_queue(proof, &context.queued, &context.health),
        ProofState::Running => running(proof, events, attempts, only, context),
        ProofState::Done => vec![format!(
            "proof {id} is done: {}, {} (results from the cache: {})",
            counted(proof.shards.unwrap_or(0), "shard"),
            counted(proof.tasks.known, "task"),
            proof.tasks.cached
        )],
        ProofState::Cancelled => vec![format!("proof {id} was cancelled")],
        ProofState::Failed => {
            let (text, hints) = hint::separate(proof.failure.as_ref().map(|failure| failure.text.clone()));
            let kind = proof.failure.as_ref().map(|failure| format!(" (kind: {})", failure.kind)).unwrap_or_default();
            let first = format!("proof {id} failed: {text}{kind}");
            let hints = hints.into_iter().map(|hint| format!("hint: {hint}"));
            std::iter::once(first).chain(failures(attempts, only)).chain(hints).collect()
        }
    }
}

fn running(
    proof: &ProofSummary,
    events: &[EventRecord],
    attempts: &BTreeMap<u64, ExplainedTask>,
    only: Option<u64>,
    context: &ExplainContext,
) -> Vec<String> {
    let last_start = events
        .iter()
        .rposition(|record| matches!(record.event, ProofEvent::Started { .. } | ProofEvent::Restarted { .. }));
    let recent = &events[last_start.unwrap_or(0)..];
    let has = |is: fn(&ProofEvent) -> bool| recent.iter().any(|record| is(&record.event));
    let mut sentences = vec![format!(
        "proof {} {}{}",
        proof.id,
        proof.started.map_or("is running".to_owned(), |started| format!("has been running since {started}")),
        if proof.starts > 1 { format!(", started {} times", proof.starts) } else { String::new() },
    )];
    if let Some(reason) = recent.first().and_then(|record| match &record.event {
        ProofEvent::Restarted { reason } => Some(reason),
        _ => None,
    }) {
        sentences.push(format!("the proof restarted: {reason}"));
    }
    sentences.extend(cut(events));
    if has(|event| matches!(event, ProofEvent::Verifying)) {
        sentences.push("all tasks are done; the finished proof is being verified".to_owned());
        return sentences;
    }
    if !has(|event| matches!(event, ProofEvent::Executed { .. })) {
        sentences.push("the program is still executing and creates more tasks".to_owned());
    }
    let OpenTasks { reasons, count, tasks } = &context.open;
    let wait = context.open.waiting_tasks();
    sentences.push(format!(
        "done so far: {} of {} (results from the cache: {}); assigned to workers: {}; waiting: {wait}",
        proof.tasks.done,
        counted(proof.tasks.known, "task"),
        proof.tasks.cached,
        count.saturating_sub(wait)
    ));
    if only.is_none() {
        sentences.extend(reasons.iter().map(ToString::to_string));
        // The waiting tasks of a whole proof are only counted.
        let held = tasks.iter().filter(|task| !matches!(task.state, OpenTaskState::Waiting { .. }));
        sentences.extend(held.map(open_task));
        if tasks.len() as u64 != *count {
            sentences.push(format!("only the first {} of {count} unfinished tasks are listed", tasks.len()));
        }
    } else {
        sentences.extend(tasks.iter().map(open_task));
    }
    sentences.extend(failures(attempts, only));
    if reasons.iter().any(|waiting| waiting.code == WaitCode::NoTrustedWorker) {
        sentences.push("hint: connect a worker whose identity was made with `sp1d keys issue --trusted`".to_owned());
    }
    if reasons.iter().any(|waiting| is_unusual(waiting.code)) {
        sentences.push("hint: `sp1d workers` shows the state of each worker".to_owned());
    }
    sentences
}

/// Describes what happens with an open task.
fn open_task(OpenTask { task, kind, state }: &OpenTask) -> String {
    let task = format!("task {} ({kind})", task.0);
    match state {
        OpenTaskState::Waiting { seconds, reason, .. } => format!("{task} has been waiting for {seconds} s: {reason}"),
        OpenTaskState::Assigned { worker, seconds } => {
            format!("{task} was assigned to {worker} {seconds} s ago and has not started there")
        }
        OpenTaskState::Proving { worker, seconds } => format!("{task} has been proving on {worker} for {seconds} s"),
        OpenTaskState::Verifying { worker } => format!("the result of {task} from {worker} is being verified"),
    }
}

/// Returns true unless the task only waits for its turn.
fn is_unusual(code: WaitCode) -> bool {
    !matches!(code, WaitCode::AllFull | WaitCode::OutsidePackPlan)
}

/// Describes the cut that was chosen last. A choice stays valid until the next one, also after restarts.
fn cut(events: &[EventRecord]) -> Option<String> {
    events.iter().rev().find_map(|record| match &record.event {
        ProofEvent::Cut { setting, reason, .. } => Some(cut_sentence(setting, reason)),
        _ => None,
    })
}

/// Lists the attempts that failed or were lost.
fn failures(attempts: &BTreeMap<u64, ExplainedTask>, only: Option<u64>) -> Vec<String> {
    let mut sentences = Vec::new();
    for (task, ExplainedTask { kind, attempts }) in shown(attempts, only) {
        for ExplainedAttempt { worker, step, .. } in attempts {
            match step {
                ExplainedStep::Failed(reason) => {
                    sentences.push(format!("task {task} ({kind}) failed on {worker}: {reason}"))
                }
                ExplainedStep::Lost(reason) => sentences
                    .push(format!("task {task} ({kind}) was interrupted, because {worker} disconnected: {reason}")),
                ExplainedStep::Interrupted => {
                    sentences.push(format!("task {task} ({kind}) was interrupted, because {worker} disconnected"));
                }
                ExplainedStep::Assigned
                | ExplainedStep::Proving
                | ExplainedStep::Done
                | ExplainedStep::Dropped
                | ExplainedStep::TakenBack => {}
            }
        }
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::remote::explain::attempts::attempts_by_task;
    use serde_json::json;
    use sp1d_client::{Moment, WaitingTasks};
    use sp1d_model::{AttemptId, AttemptInfo, TaskId, TaskKind};

    fn proof(change: impl FnOnce(&mut ProofSummary)) -> ProofSummary {
        let mut proof = serde_json::from_value(json!({
            "id": "0123456789ab", "program": "", "input": "", "mode": "core", "state": "queued", "priority": 0, "nonce": [0, 0, 0, 0],
            "created": "2026-01-01T00:00:10Z", "starts": 1, "tasks": {"known": 0, "done": 0, "cached": 0}, "workers": []
        }))
        .unwrap();
        change(&mut proof);
        proof
    }

    fn attempt(task: u64, attempt: u64, worker: &str) -> AttemptInfo {
        let (task, attempt) = (TaskId(task), AttemptId(attempt));
        AttemptInfo { task, attempt, kind: TaskKind::ProveShard, cycles: 0, worker: worker.to_owned() }
    }

    fn open(task: u64, state: OpenTaskState) -> OpenTask {
        OpenTask { task: TaskId(task), kind: TaskKind::ProveShard, state }
    }

    fn waiting(tasks: u64, code: WaitCode, reason: &str) -> WaitingTasks {
        WaitingTasks { code, reason: reason.to_owned(), tasks }
    }

    /// Checks the explanation of `proof`, or of task `only`, with these `events`, which are one second apart, and with
    /// these open tasks.
    #[track_caller]
    fn check(proof: ProofSummary, events: Vec<ProofEvent>, only: Option<u64>, open: OpenTasks, expected: &[&str]) {
        let record = |(second, event): (i64, ProofEvent)| EventRecord { number: 1, at: Moment(second * 1000), event };
        let events: Vec<EventRecord> = (0..).zip(events).map(record).collect();
        let context = ExplainContext { queued: Vec::new(), health: Health::default(), open };
        assert_eq!(explain(&proof, &events, &attempts_by_task(&events), only, &context), expected);
    }

    #[test]
    fn a_running_proof_shows_its_waiting_tasks_and_failed_attempts() {
        let running = proof(|proof| {
            proof.state = ProofState::Running;
            (proof.tasks.known, proof.tasks.done, proof.tasks.cached) = (7, 2, 1);
        });
        let events = vec![
            ProofEvent::Started { start: 1 },
            ProofEvent::Cut {
                setting: "ELEMENT_THRESHOLD=7".to_owned(),
                reason: "the workers are small".to_owned(),
                options: String::new(),
            },
            ProofEvent::Assigned(attempt(9, 1, "before")),
            ProofEvent::Restarted { reason: "the executor was killed".to_owned() },
            ProofEvent::Assigned(attempt(1, 2, "one")),
            ProofEvent::Proving(attempt(1, 2, "one")),
            ProofEvent::AttemptFailed { attempt: attempt(1, 2, "one"), reason: "it died".to_owned() },
            ProofEvent::Proving(attempt(1, 3, "two")),
            ProofEvent::Done(attempt(2, 4, "two")),
            ProofEvent::Proving(attempt(3, 5, "four")),
            // The orchestrator has taken an attempt back before. It is not interrupted when its worker disconnects.
            ProofEvent::Assigned(attempt(3, 6, "four")),
            ProofEvent::TakenBack(attempt(3, 6, "four")),
            ProofEvent::WorkerLost { worker: "four".to_owned(), reason: "it was silent".to_owned() },
            ProofEvent::Interrupted(attempt(3, 5, "four")),
            ProofEvent::Proving(attempt(4, 7, "five")),
            ProofEvent::Interrupted(attempt(4, 7, "five")),
            ProofEvent::Proving(attempt(5, 8, "six")),
            ProofEvent::Interrupted(attempt(5, 8, "six")),
            ProofEvent::WorkerLost { worker: "six".to_owned(), reason: "it was silent too".to_owned() },
        ];
        let two = || "two".to_owned();
        let open = OpenTasks {
            reasons: vec![waiting(2, WaitCode::AllFull, "all workers are full")],
            count: 5,
            tasks: vec![
                open(1, OpenTaskState::Proving { worker: two(), seconds: 3 }),
                open(3, OpenTaskState::Waiting { seconds: 1, code: WaitCode::AllFull, reason: String::new() }),
                open(4, OpenTaskState::Assigned { worker: two(), seconds: 2 }),
                open(5, OpenTaskState::Verifying { worker: two() }),
            ],
        };
        check(
            running,
            events,
            None,
            open,
            &[
                "proof 0123456789ab is running",
                "the proof restarted: the executor was killed",
                "the run is cut into shards of 7 trace cells (setting ELEMENT_THRESHOLD): the workers are small",
                "the program is still executing and creates more tasks",
                "done so far: 2 of 7 tasks (results from the cache: 1); assigned to workers: 3; waiting: 2",
                "2 tasks wait: all workers are full",
                "task 1 (prove_shard) has been proving on two for 3 s",
                "task 4 (prove_shard) was assigned to two 2 s ago and has not started there",
                "the result of task 5 (prove_shard) from two is being verified",
                "only the first 4 of 5 unfinished tasks are listed",
                "task 1 (prove_shard) failed on one: it died",
                "task 3 (prove_shard) was interrupted, because four disconnected: it was silent",
                "task 4 (prove_shard) was interrupted, because five disconnected",
                "task 5 (prove_shard) was interrupted, because six disconnected: it was silent too",
            ],
        );
    }

    #[test]
    fn a_private_proof_shows_how_to_get_a_trusted_worker() {
        let running = proof(|proof| (proof.state, proof.tasks.known) = (ProofState::Running, 2));
        let open = OpenTasks {
            reasons: vec![waiting(2, WaitCode::NoTrustedWorker, "none is trusted")],
            count: 0,
            tasks: Vec::new(),
        };
        check(
            running,
            vec![ProofEvent::Started { start: 1 }, ProofEvent::Executed { cycles: 1, unread_values: 0 }],
            None,
            open,
            &[
                "proof 0123456789ab is running",
                "done so far: 0 of 2 tasks (results from the cache: 0); assigned to workers: 0; waiting: 2",
                "2 tasks wait: none is trusted",
                "hint: connect a worker whose identity was made with `sp1d keys issue --trusted`",
                "hint: `sp1d workers` shows the state of each worker",
            ],
        );
    }

    #[test]
    fn a_task_that_was_never_assigned_shows_why_it_waits() {
        let running = proof(|proof| (proof.state, proof.tasks.known) = (ProofState::Running, 2));
        let reason = || "no worker is ready".to_owned();
        let state = OpenTaskState::Waiting { seconds: 12, code: WaitCode::NoWorkerReady, reason: reason() };
        let open = OpenTasks {
            reasons: vec![waiting(2, WaitCode::NoWorkerReady, &reason())],
            count: 2,
            tasks: vec![open(7, state)],
        };
        check(
            running,
            vec![ProofEvent::Started { start: 1 }, ProofEvent::Executed { cycles: 1, unread_values: 0 }],
            Some(7),
            open,
            &[
                "proof 0123456789ab is running",
                "done so far: 0 of 2 tasks (results from the cache: 0); assigned to workers: 0; waiting: 2",
                "task 7 (prove_shard) has been waiting for 12 s: no worker is ready",
                "hint: `sp1d workers` shows the state of each worker",
            ],
        );
    }
}
