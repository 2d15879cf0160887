//! The rows of the two tables.

use crate::command::remote::worker_problem;
use ratatui::{
    style::{Color, Style},
    widgets::Row,
};
use sp1d_client::{Moment, ProofState, ProofSummary, WorkerActivity, WorkerSummary};
use sp1d_model::hint;
use std::{iter, time::Duration};

/// Width of a progress bar in characters.
const BAR_WIDTH: u64 = 10;

pub(super) fn header(names: impl IntoIterator<Item = &'static str>) -> Row<'static> {
    Row::new(names).style(Style::new().underlined())
}

pub(super) fn highlight(has_focus: bool) -> Style {
    if has_focus { Style::new().reversed() } else { Style::new() }
}

pub(super) fn worker_row(worker: &WorkerSummary) -> Row<'static> {
    let known = |text: String, is_known: bool| if is_known { text } else { String::new() };
    let color = match worker.state {
        WorkerActivity::Busy => Style::new().fg(Color::Green),
        WorkerActivity::Disconnected | WorkerActivity::Quarantined => Style::new().fg(Color::Red).bold(),
        WorkerActivity::Idle => Style::new(),
        _ => Style::new().fg(Color::Yellow),
    };
    Row::new([
        worker.name.clone(),
        worker.state.to_string(),
        worker.holds.to_string(),
        worker.done.to_string(),
        worker.failed_attempts.to_string(),
        known(worker.threads.to_string(), worker.threads > 0),
        known(format!("{} GB", worker.memory_bytes / 1_000_000_000), worker.memory_bytes > 0),
        worker_problem(worker),
    ])
    .style(color)
}

/// Returns the row of a proof, with its tenant as the second cell if `has_tenants`. `in_progress` is the number of
/// attempts that all workers have.
pub(super) fn proof_row(proof: &ProofSummary, has_tenants: bool, in_progress: u64, now: Moment) -> Row<'static> {
    let color = match proof.state {
        ProofState::Running => Style::new().fg(Color::Green),
        ProofState::Failed => Style::new().fg(Color::Red),
        ProofState::Queued => Style::new(),
        ProofState::Done | ProofState::Cancelled => Style::new().dim(),
    };
    let takes = proof.started.map(|started| seconds_between(started, proof.ended.unwrap_or(now)));
    let tenant = has_tenants.then(|| proof.tenant.clone());
    let cells = [
        proof.mode.name().to_owned(),
        proof.state.name().to_owned(),
        proof.priority.to_string(),
        bar(proof),
        takes.map(clock).unwrap_or_default(),
        time_left(proof, in_progress, now).map(|seconds| format!("~{}", clock(seconds))).unwrap_or_default(),
        hint::separate(proof.failure.as_ref().map(|failure| failure.text.clone())).0,
    ];
    Row::new(iter::once(proof.id.clone()).chain(tenant).chain(cells)).style(color)
}

fn seconds_between(from: Moment, to: Moment) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0) / 1000).unwrap_or(0)
}

/// Estimates the seconds until all known tasks of a running proof are done. A program that still runs adds more tasks.
fn time_left(proof: &ProofSummary, in_progress: u64, now: Moment) -> Option<u64> {
    let started = proof.started.filter(|_| proof.state == ProofState::Running)?;
    let elapsed = Duration::from_secs(seconds_between(started, now));
    proof.tasks.time_left(in_progress, elapsed).map(|left| left.as_secs())
}

fn bar(proof: &ProofSummary) -> String {
    let (done, known) = (proof.tasks.done, proof.tasks.known);
    if known == 0 {
        return String::new();
    }
    let full = (BAR_WIDTH.saturating_mul(done) / known).min(BAR_WIDTH);
    let part = |sign: &str, times: u64| sign.repeat(usize::try_from(times).unwrap_or(0));
    format!("{}{} {done}/{known}", part("█", full), part("░", BAR_WIDTH - full))
}

fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_client::{ProofMode, TaskCounts};

    fn running_proof(tasks: TaskCounts) -> ProofSummary {
        ProofSummary {
            id: "one".to_owned(),
            tenant: String::new(),
            program: String::new(),
            input: String::new(),
            mode: ProofMode::Core,
            state: ProofState::Running,
            priority: 0,
            cycle_limit: None,
            gas_limit: None,
            trusted_only: false,
            nonce: [0; 4],
            created: Moment(0),
            started: Some(Moment(0)),
            ended: None,
            deadline: None,
            starts: 1,
            tasks,
            cycles: None,
            gas: None,
            shards: None,
            proof_bytes: None,
            workers: Vec::new(),
            requester: None,
            failure: None,
        }
    }

    /// Checks the estimate after 100 seconds, when 5 of 10 tasks are done.
    #[track_caller]
    fn check_left(change: impl FnOnce(&mut ProofSummary), in_progress: u64, left: Option<u64>) {
        let mut proof = running_proof(TaskCounts { known: 10, done: 5, cached: 0 });
        change(&mut proof);
        assert_eq!(time_left(&proof, in_progress, Moment(100_000)), left);
    }

    #[test]
    fn only_a_running_proof_with_enough_proven_tasks_has_a_time_left() {
        check_left(|_| {}, 2, Some(100));
        check_left(|proof| proof.tasks.cached = 3, 2, None);
        check_left(|proof| proof.tasks.done = 4, 6, None);
        check_left(|proof| proof.state = ProofState::Done, 2, None);
        check_left(|proof| proof.started = None, 2, None);
    }
}
