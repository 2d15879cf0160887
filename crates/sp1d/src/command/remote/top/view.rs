//! The view of `sp1d top` and its keys. This module performs no I/O.

use super::{
    rows::{header, highlight, proof_row, worker_row},
    snapshot::{MainWaitReason, ServiceSnapshot},
};
use crate::command::remote::have_several_tenants;
use ratatui::{
    Frame,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Table, TableState},
};
use sp1d_client::{Moment, ProofState};
use sp1d_model::{counted, hint};
use std::iter;

/// Width of the column of tenants. Longer names are cut.
const TENANT_WIDTH: u16 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TopPane {
    Workers,
    Proofs,
}

/// What the screen shows.
pub(super) struct TopView {
    url: String,
    snapshot: ServiceSnapshot,
    /// Why the last query failed; `None` if it succeeded.
    trouble: Option<String>,
    /// The last response to a query for [`TopView::shown_proof`].
    main_reason: Option<MainWaitReason>,
    focus: TopPane,
    workers: TableState,
    proofs: TableState,
}

impl TopView {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            snapshot: ServiceSnapshot::default(),
            trouble: None,
            main_reason: None,
            focus: TopPane::Proofs,
            workers: TableState::default(),
            proofs: TableState::default(),
        }
    }

    /// Shows a new state of the service.
    pub(super) fn show(&mut self, snapshot: ServiceSnapshot) {
        // Keep the same item selected when its row changes.
        let follow = |table: &mut TableState, before: &[String], now: &[String]| {
            let selected = table.selected().and_then(|row| before.get(row));
            table.select(selected.and_then(|id| now.iter().position(|other| other == id)));
        };
        follow(&mut self.workers, &self.snapshot.worker_ids(), &snapshot.worker_ids());
        follow(&mut self.proofs, &self.snapshot.proof_ids(), &snapshot.proof_ids());
        (self.snapshot, self.trouble) = (snapshot, None);
    }

    /// Records a failed query. The last known state stays on the screen and is marked as old.
    pub(super) fn on_failed_query(&mut self, reason: String) {
        self.trouble = Some(reason);
    }

    /// Returns the proof for which the view shows why its tasks wait: the selected proof, or the first one if no proof
    /// is selected. `None` if that proof is not running.
    pub(super) fn shown_proof(&self) -> Option<&str> {
        let proof = self.snapshot.proofs.get(self.proofs.selected().unwrap_or(0))?;
        (proof.state == ProofState::Running).then_some(proof.id.as_str())
    }

    /// Shows why tasks wait, while their proof is the shown one.
    pub(super) fn on_main_reason(&mut self, reason: MainWaitReason) {
        self.main_reason = Some(reason);
    }

    /// Handles a key. Returns true if the view should end.
    pub(super) fn on_key(&mut self, key: KeyEvent) -> bool {
        let rows = match self.focus {
            TopPane::Workers => self.snapshot.workers.workers.len(),
            TopPane::Proofs => self.snapshot.proofs.len(),
        };
        let table = match self.focus {
            TopPane::Workers => &mut self.workers,
            TopPane::Proofs => &mut self.proofs,
        };
        let last = rows.saturating_sub(1);
        // If no row is selected, the first step selects the first row.
        let down = |rows: usize| table.selected().map_or(0, |row| (row + rows).min(last));
        let up = |rows: usize| table.selected().map_or(0, |row| row.saturating_sub(rows));
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = if self.focus == TopPane::Workers { TopPane::Proofs } else { TopPane::Workers };
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
        let heights = [head.len(), self.snapshot.workers.workers.len() + 3];
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
        let health = &self.snapshot.health;
        let count = |state: ProofState| health.proofs.get(state.name()).copied().unwrap_or(0);
        let counts: Vec<String> =
            ProofState::ALL.iter().map(|state| format!("{} {}", count(*state), state.name())).collect();
        let mut lines = vec![
            Line::from(vec![
                Span::styled(format!("{}  ", self.url), Modifier::BOLD),
                Span::raw(format!("release {}", health.release)),
            ]),
            Line::from(format!(
                "{} of {} ready, proofs: {}",
                health.ready_workers,
                counted(health.workers, "worker"),
                counts.join(", ")
            )),
        ];
        if let Some(MainWaitReason { proof, text: Some(text) }) = &self.main_reason
            && self.shown_proof() == Some(proof.as_str())
        {
            lines.push(Line::from(format!("proof {proof}: {text}")));
        }
        if let Some(error) = &self.snapshot.workers.list.error {
            let (error, _) = hint::separate([error.clone()]);
            lines.push(Line::styled(format!("the worker list was not reloaded: {error}"), Color::Yellow));
        }
        if let Some(trouble) = &self.trouble {
            lines.push(Line::styled(format!("not up to date: {trouble}"), Style::new().fg(Color::Red).bold()));
        }
        lines
    }

    fn block(&self, title: &'static str, pane: TopPane) -> Block<'static> {
        let style = if self.focus == pane { Style::new().bold() } else { Style::new().dim() };
        Block::new().borders(Borders::TOP).border_style(style).title(Span::styled(title, style))
    }

    fn draw_workers(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let widths = [24, 12, 5, 6, 6, 7, 6].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
        let table = Table::new(self.snapshot.workers.workers.iter().map(worker_row), widths)
            .header(header(["worker", "state", "tasks", "done", "failed", "threads", "memory", "problem"]))
            .row_highlight_style(highlight(self.focus == TopPane::Workers))
            .block(self.block(" workers ", TopPane::Workers));
        frame.render_stateful_widget(table, area, &mut self.workers);
    }

    fn draw_proofs(&mut self, frame: &mut Frame<'_>, area: Rect, now: Moment) {
        let has_tenants = have_several_tenants(&self.snapshot.proofs);
        let (name, width) = (has_tenants.then_some("tenant"), has_tenants.then_some(TENANT_WIDTH));
        let columns = ["mode", "state", "priority", "tasks done", "ran for", "time left", "failure"];
        let widths = iter::once(12).chain(width).chain([10, 9, 8, 20, 8, 9]).map(Constraint::Length);
        let in_progress: u64 = self.snapshot.workers.workers.iter().map(|worker| worker.holds as u64).sum();
        let rows = self.snapshot.proofs.iter().map(|proof| proof_row(proof, has_tenants, in_progress, now));
        let table = Table::new(rows, widths.chain([Constraint::Fill(1)]))
            .header(header(iter::once("proof").chain(name).chain(columns)))
            .row_highlight_style(highlight(self.focus == TopPane::Proofs))
            .block(self.block(" proofs ", TopPane::Proofs));
        frame.render_stateful_widget(table, area, &mut self.proofs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::{Terminal, backend::TestBackend};
    use sp1d_client::{
        Disconnection, FailureInfo, Health, ProofFailureKind, ProofMode, ProofSummary, TaskCounts, WorkerActivity,
        WorkerSummary, WorkersReport,
    };

    fn proof(id: &str, state: ProofState, tasks: TaskCounts) -> ProofSummary {
        ProofSummary {
            id: id.to_owned(),
            tenant: String::new(),
            program: String::new(),
            input: String::new(),
            mode: ProofMode::Core,
            state,
            priority: 0,
            cycle_limit: None,
            gas_limit: None,
            trusted_only: false,
            nonce: [0; 4],
            created: Moment(0),
            started: Some(Moment(0)),
            ended: state.is_final().then_some(Moment(3_725_000)),
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

    fn shown() -> ServiceSnapshot {
        let busy = WorkerSummary {
            name: "gpu-1".into(),
            address: "a:1".into(),
            state: WorkerActivity::Busy,
            ..WorkerSummary::default()
        };
        let disconnection = Disconnection {
            since: Moment(0),
            reason: "nothing was heard from the worker for 3 s".into(),
            last_try: None,
        };
        let disconnected = WorkerSummary {
            name: "gpu-2".into(),
            address: "a:2".into(),
            state: WorkerActivity::Disconnected,
            disconnection: Some(disconnection),
            ..WorkerSummary::default()
        };
        let failure = Some(FailureInfo { kind: ProofFailureKind::Program, text: "the program panicked".into() });
        ServiceSnapshot {
            health: Health { release: "1.2.3".into(), workers: 2, ready_workers: 1, ..Health::default() },
            workers: WorkersReport { workers: vec![busy, disconnected], ..WorkersReport::default() },
            proofs: vec![
                proof("one", ProofState::Running, TaskCounts { known: 8, done: 6, cached: 2 }),
                ProofSummary { failure, ..proof("two", ProofState::Failed, TaskCounts::default()) },
            ],
        }
    }

    /// Returns the text of the screen.
    fn screen(view: &mut TopView) -> String {
        let mut terminal = Terminal::new(TestBackend::new(140, 24)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    /// Checks that the screen contains each of `texts`.
    fn check(view: &mut TopView, texts: &[&str]) {
        let screen = screen(view);
        for text in texts {
            assert!(screen.contains(text), "{text:?} is not in\n{screen}");
        }
    }

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn workers_and_proofs_are_shown_with_their_problems() {
        let mut view = TopView::new("http://service:8090");
        view.show(shown());
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
    fn tenants_are_shown_only_if_there_are_several() {
        for (tenants, is_shown) in [(["default", "default"], false), (["default", "team-a"], true)] {
            let (mut view, mut snapshot) = (TopView::new("http://service:8090"), shown());
            for (proof, tenant) in snapshot.proofs.iter_mut().zip(tenants) {
                tenant.clone_into(&mut proof.tenant);
            }
            view.show(snapshot);
            // The other columns keep their order.
            check(&mut view, &["proof        ", "mode       state     priority", "the program panicked"]);
            let screen = screen(&mut view);
            for text in ["tenant", tenants[0], tenants[1]] {
                assert_eq!(screen.contains(text), is_shown, "{text:?} in\n{screen}");
            }
        }
    }

    #[test]
    fn a_failed_query_keeps_the_last_state_and_marks_it_as_old() {
        let mut view = TopView::new("http://service:8090");
        view.show(shown());
        view.on_failed_query("it does not answer".to_owned());
        check(&mut view, &["not up to date: it does not answer", "gpu-1"]);
        view.show(shown());
        assert!(view.trouble.is_none());
    }

    #[test]
    fn the_reason_is_shown_for_the_first_running_proof_and_for_the_selected_one() {
        let mut view = TopView::new("http://service:8090");
        assert_eq!(view.shown_proof(), None);
        let mut snapshot = shown();
        snapshot.proofs.insert(1, proof("other", ProofState::Running, TaskCounts::default()));
        view.show(snapshot);
        assert_eq!(view.shown_proof(), Some("one"));
        let text = Some("12 tasks wait: no worker is ready".to_owned());
        view.on_main_reason(MainWaitReason { proof: "one".to_owned(), text });
        check(&mut view, &["proof one: 12 tasks wait: no worker is ready"]);
        view.proofs.select(Some(1));
        assert_eq!(view.shown_proof(), Some("other"));
        assert_eq!(view.head().len(), 2, "the reason belongs to another proof");
        view.proofs.select(Some(2));
        assert_eq!(view.shown_proof(), None, "a failed proof has no waiting tasks");
    }

    #[test]
    fn tiny_screens_and_empty_services_are_drawn() {
        for (width, height) in [(1, 1), (20, 3), (400, 200)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            for snapshot in [ServiceSnapshot::default(), shown()] {
                let mut view = TopView::new("http://service:8090");
                view.show(snapshot);
                terminal.draw(|frame| view.draw(frame)).unwrap();
            }
        }
    }

    #[test]
    fn keys_move_the_selection_of_the_focused_table() {
        let mut view = TopView::new("http://service:8090");
        view.show(shown());
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
        let mut view = TopView::new("http://service:8090");
        view.show(shown());
        view.on_key(key(KeyCode::End));
        let mut later = shown();
        later.proofs.insert(0, proof("three", ProofState::Running, TaskCounts::default()));
        view.show(later);
        assert_eq!(view.proofs.selected(), Some(2));
        view.show(ServiceSnapshot::default());
        assert_eq!(view.proofs.selected(), None);
    }
}
