//! The rows of the two tables.

use crate::command::remote::worker_problem;
use ratatui::{
    style::{Color, Style},
    widgets::Row,
};
use sp1d_client::{Moment, ProofState, ProofSummary, WorkerActivity, WorkerSummary};
use sp1d_model::hint;
use std::iter;

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

/// Returns the row of a proof, with its tenant as the second cell if `has_tenants`.
pub(super) fn proof_row(proof: &ProofSummary, has_tenants: bool, now: Moment) -> Row<'static> {
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
        time_left(proof, now).map(|seconds| format!("~{}", clock(seconds))).unwrap_or_default(),
        hint::separate(proof.failure.as_ref().map(|failure| failure.text.clone())).0,
    ];
    Row::new(iter::once(proof.id.clone()).chain(tenant).chain(cells)).style(color)
}

fn seconds_between(from: Moment, to: Moment) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0) / 1000).unwrap_or(0)
}

/// Estimates the seconds until all known tasks are done. A program that still runs adds more tasks.
fn time_left(proof: &ProofSummary, now: Moment) -> Option<u64> {
    let proven = proof.tasks.done.checked_sub(proof.tasks.cached).filter(|proven| *proven > 0)?;
    let started = proof.started.filter(|_| proof.state == ProofState::Running)?;
    let missing = proof.tasks.open();
    Some(seconds_between(started, now).saturating_mul(missing) / proven)
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

    /// Checks the estimate after `seconds`, with these numbers of known, done and cached tasks.
    fn check_left(seconds: i64, known: u64, done: u64, cached: u64, left: Option<u64>) {
        let proof = running_proof(TaskCounts { known, done, cached });
        assert_eq!(time_left(&proof, Moment(seconds * 1000)), left);
    }

    #[test]
    fn the_time_left_ignores_cached_tasks() {
        check_left(100, 10, 5, 0, Some(100));
        check_left(100, 10, 5, 4, Some(500));
        check_left(100, 10, 4, 4, None);
        check_left(0, 0, 0, 0, None);
    }
}
