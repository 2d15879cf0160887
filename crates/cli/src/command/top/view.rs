//! The view of `sp1d top` and its keys. This module performs no I/O.

use super::Seen;
use crate::{command::remote::why, exit::split_hints};
use client::{Moment, Proof, ProofState, Worker};
use ratatui::{
    Frame,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Row, Table, TableState},
};

/// Width of a progress bar in characters.
const BAR: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pane {
    Workers,
    Proofs,
}

impl Seen {
    fn worker_ids(&self) -> Vec<String> {
        self.workers.workers.iter().map(|worker| worker.address.clone()).collect()
    }

    fn proof_ids(&self) -> Vec<String> {
        self.proofs.iter().map(|proof| proof.id.clone()).collect()
    }
}

/// What the screen shows.
pub(super) struct View {
    url: String,
    seen: Seen,
    /// Why the last query failed; `None` if it succeeded.
    trouble: Option<String>,
    focus: Pane,
    workers: TableState,
    proofs: TableState,
}

impl View {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            seen: Seen::default(),
            trouble: None,
            focus: Pane::Proofs,
            workers: TableState::default(),
            proofs: TableState::default(),
        }
    }

    pub(super) fn seen(&mut self, seen: Seen) {
        // Keep the same item selected when its row changes.
        let follow = |table: &mut TableState, before: &[String], now: &[String]| {
            let selected = table.selected().and_then(|row| before.get(row));
            table.select(selected.and_then(|id| now.iter().position(|other| other == id)));
        };
        follow(&mut self.workers, &self.seen.worker_ids(), &seen.worker_ids());
        follow(&mut self.proofs, &self.seen.proof_ids(), &seen.proof_ids());
        (self.seen, self.trouble) = (seen, None);
    }

    /// Records a failed query. The last known state stays on the screen and is marked as old.
    pub(super) fn missed(&mut self, reason: String) {
        self.trouble = Some(reason);
    }

    /// Handles a key. Returns true if the view should end.
    pub(super) fn on_key(&mut self, key: KeyEvent) -> bool {
        let rows = match self.focus {
            Pane::Workers => self.seen.workers.workers.len(),
            Pane::Proofs => self.seen.proofs.len(),
        };
        let table = match self.focus {
            Pane::Workers => &mut self.workers,
            Pane::Proofs => &mut self.proofs,
        };
        let last = rows.saturating_sub(1);
        // If no row is selected, the first step selects the first row.
        let down = |rows: usize| table.selected().map_or(0, |row| (row + rows).min(last));
        let up = |rows: usize| table.selected().map_or(0, |row| row.saturating_sub(rows));
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = if self.focus == Pane::Workers { Pane::Proofs } else { Pane::Workers };
            }
            KeyCode::Down | KeyCode::Char('j') => table.select(Some(down(1))),
            KeyCode::Up | KeyCode::Char('k') => table.select(Some(up(1))),
            KeyCode::PageDown => table.select(Some(down(10))),
            KeyCode::PageUp => table.select(Some(up(10))),
            KeyCode::Home => table.select(Some(0)),
            KeyCode::End => table.select(Some(last)),
            _ => {}
        }
        false
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let head = self.head();
        let heights = [head.len(), self.seen.workers.workers.len() + 3];
        let [head_height, workers_height] = heights.map(|height| u16::try_from(height).unwrap_or(u16::MAX));
        let layout = Layout::vertical([
            Constraint::Length(head_height),
            // The table of workers takes the height it needs, at most half of the screen.
            Constraint::Max(workers_height.min(frame.area().height / 2)),
            Constraint::Min(4),
            Constraint::Length(1),
        ]);
        let [top, workers, proofs, keys] = layout.areas(frame.area());
        frame.render_widget(ratatui::text::Text::from(head), top);
        self.draw_workers(frame, workers);
        self.draw_proofs(frame, proofs, Moment::now());
        let help = "q quit   Tab switch table   arrows, Page, Home, End move   sp1d explain PROOF shows details";
        frame.render_widget(Line::styled(help, Modifier::DIM), keys);
    }

    fn head(&self) -> Vec<Line<'static>> {
        let health = &self.seen.health;
        let count = |state: ProofState| health.proofs.get(state.name()).copied().unwrap_or(0);
        let counts: Vec<String> =
            ProofState::ALL.iter().map(|state| format!("{} {}", count(*state), state.name())).collect();
        let mut lines = vec![
            Line::from(vec![
                Span::styled(format!("{}  ", self.url), Modifier::BOLD),
                Span::raw(format!("release {}", health.release)),
            ]),
            Line::from(format!(
                "{} of {} workers ready, proofs: {}",
                health.ready_workers,
                health.workers,
                counts.join(", ")
            )),
        ];
        if let Some(error) = &self.seen.workers.list.error {
            let (error, _) = split_hints([error.clone()]);
            lines.push(Line::styled(format!("the worker list was not reloaded: {error}"), Color::Yellow));
        }
        if let Some(trouble) = &self.trouble {
            lines.push(Line::styled(format!("not up to date: {trouble}"), Style::new().fg(Color::Red).bold()));
        }
        lines
    }

    fn block(&self, title: &'static str, pane: Pane) -> Block<'static> {
        let style = if self.focus == pane { Style::new().bold() } else { Style::new().dim() };
        Block::new().borders(Borders::TOP).border_style(style).title(Span::styled(title, style))
    }

    fn draw_workers(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let widths = [24, 11, 5, 6, 6, 7, 6].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
        let table = Table::new(self.seen.workers.workers.iter().map(worker_row), widths)
            .header(header(["worker", "state", "holds", "done", "faults", "threads", "memory", "why"]))
            .row_highlight_style(highlight(self.focus == Pane::Workers))
            .block(self.block(" workers ", Pane::Workers));
        frame.render_stateful_widget(table, area, &mut self.workers);
    }

    fn draw_proofs(&mut self, frame: &mut Frame<'_>, area: Rect, now: Moment) {
        let widths = [12, 10, 9, 4, 20, 8, 8].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
        let table = Table::new(self.seen.proofs.iter().map(|proof| proof_row(proof, now)), widths)
            .header(header(["proof", "mode", "state", "prio", "tasks", "time", "left", "failure"]))
            .row_highlight_style(highlight(self.focus == Pane::Proofs))
            .block(self.block(" proofs ", Pane::Proofs));
        frame.render_stateful_widget(table, area, &mut self.proofs);
    }
}

fn header<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    Row::new(names).style(Style::new().underlined())
}

fn highlight(has_focus: bool) -> Style {
    if has_focus { Style::new().reversed() } else { Style::new() }
}

fn worker_row(worker: &Worker) -> Row<'static> {
    let known = |text: String, is_known: bool| if is_known { text } else { String::new() };
    let color = match worker.state.as_str() {
        "busy" => Style::new().fg(Color::Green),
        "lost" | "quarantined" => Style::new().fg(Color::Red).bold(),
        "idle" => Style::new(),
        _ => Style::new().fg(Color::Yellow),
    };
    Row::new([
        worker.name.clone(),
        worker.state.clone(),
        worker.holds.to_string(),
        worker.done.to_string(),
        worker.faults.to_string(),
        known(worker.threads.to_string(), worker.threads > 0),
        known(format!("{} GB", worker.memory_bytes / 1_000_000_000), worker.memory_bytes > 0),
        why(worker),
    ])
    .style(color)
}

fn proof_row(proof: &Proof, now: Moment) -> Row<'static> {
    let color = match proof.state {
        ProofState::Running => Style::new().fg(Color::Green),
        ProofState::Failed => Style::new().fg(Color::Red),
        ProofState::Queued => Style::new(),
        ProofState::Done | ProofState::Cancelled => Style::new().dim(),
    };
    let takes = proof.started.map(|started| seconds_between(started, proof.ended.unwrap_or(now)));
    Row::new([
        proof.id.clone(),
        proof.mode.name().to_owned(),
        proof.state.name().to_owned(),
        proof.priority.to_string(),
        bar(proof),
        takes.map(clock).unwrap_or_default(),
        time_left(proof, now).map(|seconds| format!("~{}", clock(seconds))).unwrap_or_default(),
        split_hints(proof.failure.as_ref().map(|failure| failure.text.clone())).0,
    ])
    .style(color)
}

fn seconds_between(from: Moment, to: Moment) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0) / 1000).unwrap_or(0)
}

/// Estimates the seconds until all known tasks are done. A program that still runs adds more tasks.
fn time_left(proof: &Proof, now: Moment) -> Option<u64> {
    let proven = proof.tasks.done.checked_sub(proof.tasks.remembered).filter(|proven| *proven > 0)?;
    let started = proof.started.filter(|_| proof.state == ProofState::Running)?;
    let missing = proof.tasks.known.saturating_sub(proof.tasks.done);
    Some(seconds_between(started, now).saturating_mul(missing) / proven)
}

fn bar(proof: &Proof) -> String {
    let (done, known) = (proof.tasks.done, proof.tasks.known);
    if known == 0 {
        return String::new();
    }
    let full = (BAR.saturating_mul(done) / known).min(BAR);
    let part = |sign: &str, times: u64| sign.repeat(usize::try_from(times).unwrap_or(0));
    format!("{}{} {done}/{known}", part("█", full), part("░", BAR - full))
}

fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::{FailureInfo, Health, Lost, Mode, Tasks, Workers};
    use ratatui::{Terminal, backend::TestBackend};

    fn proof(id: &str, state: ProofState, tasks: Tasks) -> Proof {
        Proof {
            id: id.to_owned(),
            program: String::new(),
            input: String::new(),
            mode: Mode::Core,
            state,
            priority: 0,
            cycle_limit: None,
            nonce: [0; 4],
            created: Moment(0),
            started: Some(Moment(0)),
            ended: state.is_final().then_some(Moment(3_725_000)),
            deadline: None,
            starts: 1,
            tasks,
            cycles: None,
            shards: None,
            proof_bytes: None,
            workers: Vec::new(),
            failure: None,
        }
    }

    fn shown() -> Seen {
        let busy = Worker { name: "gpu-1".into(), address: "a:1".into(), state: "busy".into(), ..Worker::default() };
        let lost =
            Lost { since: Moment(0), reason: "nothing was heard from the worker for 3 s".into(), last_try: None };
        let lost = Worker {
            name: "gpu-2".into(),
            address: "a:2".into(),
            state: "lost".into(),
            lost: Some(lost),
            ..Worker::default()
        };
        let failure = Some(FailureInfo { kind: "guest".into(), text: "the program panicked".into() });
        Seen {
            health: Health { release: "1.2.3".into(), workers: 2, ready_workers: 1, ..Health::default() },
            workers: Workers { workers: vec![busy, lost], ..Workers::default() },
            proofs: vec![
                proof("one", ProofState::Running, Tasks { known: 8, done: 6, remembered: 2 }),
                Proof { failure, ..proof("two", ProofState::Failed, Tasks::default()) },
            ],
        }
    }

    /// Checks that the screen contains each of `texts`.
    fn check(view: &mut View, texts: &[&str]) {
        let mut terminal = Terminal::new(TestBackend::new(140, 24)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let screen = terminal.backend().to_string();
        for text in texts {
            assert!(screen.contains(text), "{text:?} is not in\n{screen}");
        }
    }

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn workers_and_proofs_are_shown_with_their_problems() {
        let mut view = View::new("http://service:8090");
        view.seen(shown());
        check(
            &mut view,
            &[
                "http://service:8090  release 1.2.3",
                "1 of 2 workers ready",
                "gpu-1                    busy",
                "nothing was heard from the worker for 3 s",
                "███████░░░ 6/8",
                "1:02:05",
                "the program panicked",
            ],
        );
    }

    #[test]
    fn a_failed_query_keeps_the_last_state_and_marks_it_as_old() {
        let mut view = View::new("http://service:8090");
        view.seen(shown());
        view.missed("it does not answer".to_owned());
        check(&mut view, &["not up to date: it does not answer", "gpu-1"]);
        view.seen(shown());
        assert!(view.trouble.is_none());
    }

    #[test]
    fn tiny_screens_and_empty_services_are_drawn() {
        for (width, height) in [(1, 1), (20, 3), (400, 200)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            for seen in [Seen::default(), shown()] {
                let mut view = View::new("http://service:8090");
                view.seen(seen);
                terminal.draw(|frame| view.draw(frame)).unwrap();
            }
        }
    }

    #[test]
    fn keys_move_the_selection_of_the_focused_table() {
        let mut view = View::new("http://service:8090");
        view.seen(shown());
        for (code, at) in [
            (KeyCode::Down, 0),
            (KeyCode::Down, 1),
            (KeyCode::Down, 1),
            (KeyCode::Home, 0),
            (KeyCode::End, 1),
            (KeyCode::Up, 0),
        ] {
            assert!(!view.on_key(key(code)));
            assert_eq!(view.proofs.selected(), Some(at), "{code:?}");
        }
        view.on_key(key(KeyCode::Tab));
        view.on_key(key(KeyCode::Home));
        view.on_key(key(KeyCode::PageDown));
        assert_eq!((view.workers.selected(), view.proofs.selected()), (Some(1), Some(0)));
        assert!(view.on_key(key(KeyCode::Char('q'))));
        assert!(view.on_key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    }

    #[test]
    fn the_selection_follows_its_row_when_rows_change() {
        let mut view = View::new("http://service:8090");
        view.seen(shown());
        view.on_key(key(KeyCode::End));
        let mut later = shown();
        later.proofs.insert(0, proof("three", ProofState::Running, Tasks::default()));
        view.seen(later);
        assert_eq!(view.proofs.selected(), Some(2));
        view.seen(Seen::default());
        assert_eq!(view.proofs.selected(), None);
    }

    /// Checks the estimate after `seconds`, with these numbers of known, done and cached tasks.
    fn check_left(seconds: i64, known: u64, done: u64, remembered: u64, left: Option<u64>) {
        let proof = proof("one", ProofState::Running, Tasks { known, done, remembered });
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
