//! The progress of a running proof: a progress bar on a terminal, else single lines.

use super::screen::{SCREEN, say_text};
use indicatif::{ProgressBar, ProgressStyle};
use sp1d_model::{AttemptId, AttemptInfo, ProofEvent, TaskCounts, TaskKind, counted, cut_sentence};
use std::{
    collections::BTreeSet,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::timeout,
};

/// After this time without an event, a line shows that the proof still runs. Only without a terminal: a progress bar
/// shows the time itself.
const SILENCE: Duration = Duration::from_secs(15);

/// Shown instead of an estimate if the counts of tasks are incomplete.
const INCOMPLETE: &str = ", counts incomplete";

/// When the phases of a proof started. `None` for a phase that did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PhaseStarts {
    /// The first worker was ready.
    pub(crate) proving: Option<Instant>,
    /// All tasks were done.
    pub(crate) verifying: Option<Instant>,
}

/// The progress of one proof on stderr.
struct ProofProgressView {
    bar: ProgressBar,
    terminal: bool,
    tasks: TaskCounts,
    /// The attempts that workers have now.
    held: BTreeSet<AttemptId>,
    /// Number of events that were lost since the proof last started. If it is not 0, `tasks` and `held` are wrong.
    lost: u64,
    executed: bool,
    ready: bool,
    /// When the first worker became ready. The time before is not part of the rate.
    started: Instant,
    phases: PhaseStarts,
}

impl ProofProgressView {
    fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = SCREEN.add(if terminal { ProgressBar::new(0) } else { ProgressBar::hidden() });
        let style =
            ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {pos}/{len} tasks, {elapsed} elapsed{msg}");
        bar.set_style(style.expect("the template is valid").progress_chars("=> "));
        if terminal {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar.set_prefix("starting");
        Self {
            bar,
            terminal,
            tasks: TaskCounts::default(),
            held: BTreeSet::new(),
            lost: 0,
            executed: false,
            ready: false,
            started: Instant::now(),
            phases: PhaseStarts::default(),
        }
    }

    fn line(&self, text: &str) {
        if !self.terminal {
            say_text(&format!("{text}\n"));
        }
    }

    fn on_event(&mut self, event: ProofEvent) {
        match event {
            ProofEvent::Submitted { .. } => {
                self.tasks.known += 1;
                self.bar.set_length(self.tasks.known);
            }
            ProofEvent::Assigned(AttemptInfo { attempt, .. }) | ProofEvent::Continued(AttemptInfo { attempt, .. }) => {
                self.held.insert(attempt);
            }
            ProofEvent::AttemptFailed { attempt: AttemptInfo { attempt, .. }, .. }
            | ProofEvent::Dropped(AttemptInfo { attempt, .. })
            | ProofEvent::Interrupted(AttemptInfo { attempt, .. })
            | ProofEvent::TakenBack(AttemptInfo { attempt, .. }) => {
                self.held.remove(&attempt);
            }
            ProofEvent::Done(AttemptInfo { attempt, kind, worker, .. }) => {
                self.add_done();
                self.held.remove(&attempt);
                if !self.ready {
                    // The workers were ready before this view subscribed to events.
                    self.ready = true;
                    self.phases.proving = Some(self.started);
                    self.bar.set_prefix("proving");
                }
                let elapsed = self.started.elapsed();
                self.bar.set_position(self.tasks.done);
                self.bar.set_message(self.pace(elapsed));
                self.line(&self.summary(kind, &worker, elapsed));
            }
            ProofEvent::CachedResult { .. } => {
                self.add_done();
                self.tasks.cached += 1;
                self.bar.set_position(self.tasks.done);
            }
            // The orchestrator logs a warning if the program did not read all of its input.
            ProofEvent::Executed { cycles, unread_values: _ } => {
                self.executed = true;
                self.line(&format!("executed: {}", counted(cycles, "cycle")));
            }
            ProofEvent::WorkerReady { worker } => {
                if !self.ready {
                    (self.ready, self.started) = (true, Instant::now());
                    self.phases.proving = Some(self.started);
                    self.bar.set_prefix("proving");
                    self.bar.reset_elapsed();
                }
                self.line(&format!("worker {worker} is ready"));
            }
            ProofEvent::WorkerLost { worker, reason } => {
                let text = format!("worker {worker} disconnected: {reason}; its tasks go to other workers\n");
                self.bar.suspend(|| say_text(&text));
            }
            ProofEvent::Restarted { reason } => {
                (self.tasks, self.executed, self.started) = (TaskCounts::default(), false, Instant::now());
                self.held.clear();
                self.lost = 0;
                self.bar.set_length(0);
                self.bar.set_position(0);
                self.bar.set_message("");
                self.bar.reset_elapsed();
                let text = format!("the proof restarts: {reason}\n");
                self.bar.suspend(|| say_text(&text));
            }
            ProofEvent::Cut { setting, reason, .. } => {
                let text = format!("{}\n", cut_sentence(&setting, &reason));
                self.bar.suspend(|| say_text(&text));
            }
            ProofEvent::Verifying => {
                self.phases.verifying = Some(Instant::now());
                self.bar.set_prefix("verifying");
                self.line("verifying");
            }
            // The other events change nothing that is shown, or only a service has them.
            _ => {}
        }
    }

    /// Counts a task as done. It is known, even if the event of its submission was lost.
    fn add_done(&mut self) {
        self.tasks.done += 1;
        if self.tasks.known < self.tasks.done {
            self.tasks.known = self.tasks.done;
            self.bar.set_length(self.tasks.known);
        }
    }

    /// Events were lost because too many arrived at once. No later event has the number of tasks, so the counts stay
    /// wrong until the proof restarts.
    fn on_lost_events(&mut self, lost: u64) {
        if self.lost == 0 {
            self.bar.set_message(INCOMPLETE);
            self.bar.suspend(|| say_text("some progress events were lost; the task counts are incomplete\n"));
        }
        self.lost += lost;
    }

    fn on_silence(&self) {
        let (elapsed, TaskCounts { known, done, .. }) = (self.started.elapsed().as_secs(), self.tasks);
        if self.ready {
            let incomplete = if self.lost == 0 { "" } else { INCOMPLETE };
            self.line(&format!("proving: {done}/{known} tasks done, {elapsed} s elapsed{incomplete}"));
        } else {
            self.line(&format!("no worker is ready yet, {elapsed} s elapsed"));
        }
    }

    fn summary(&self, kind: TaskKind, worker: &str, elapsed: Duration) -> String {
        let more = if self.executed { "" } else { "+" };
        let (TaskCounts { known, done, .. }, pace) = (self.tasks, self.pace(elapsed));
        format!("{done}/{known}{more} tasks done ({kind} on {worker}), {} s elapsed{pace}", elapsed.as_secs())
    }

    /// Returns the pace and the time left, each after a comma. Empty while too few tasks are proven for an estimate.
    /// Says instead if the counts are incomplete, because an estimate from them would be wrong.
    fn pace(&self, elapsed: Duration) -> String {
        if self.lost > 0 {
            return INCOMPLETE.to_owned();
        }
        let Some(left) = self.tasks.time_left(self.held.len() as u64, elapsed) else { return String::new() };
        let rate = self.tasks.proven() as f64 / elapsed.as_secs_f64().max(0.001) * 60.0;
        // A program that still runs makes more tasks.
        let bound = if self.executed { "about" } else { "at least" };
        format!(", {rate:.1} tasks per minute, {bound} {} left", rounded(left))
    }
}

/// Returns a duration in a unit that is fine enough for an estimate.
fn rounded(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

/// Shows a proof's progress until the channel closes: as a progress bar on a terminal, else as single lines. Returns
/// when its phases started.
pub(crate) async fn show_progress(mut events: broadcast::Receiver<ProofEvent>) -> PhaseStarts {
    let mut view = ProofProgressView::new();
    loop {
        match timeout(SILENCE, events.recv()).await {
            Ok(Ok(event)) => view.on_event(event),
            Ok(Err(RecvError::Lagged(lost))) => view.on_lost_events(lost),
            Ok(Err(RecvError::Closed)) => break,
            Err(_) => view.on_silence(),
        }
    }
    view.bar.finish_and_clear();
    view.phases
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_model::{AttemptId, TaskId};

    fn ready() -> ProofEvent {
        ProofEvent::WorkerReady { worker: "one".to_owned() }
    }

    fn phases(events: impl IntoIterator<Item = ProofEvent>) -> PhaseStarts {
        let mut view = ProofProgressView::new();
        events.into_iter().for_each(|event| view.on_event(event));
        view.phases
    }

    #[test]
    fn proving_starts_with_the_first_ready_worker_and_verifying_afterwards() {
        assert_eq!(phases([]), PhaseStarts::default());
        let waiting = phases([ProofEvent::Submitted { kind: TaskKind::ProveShard }]);
        assert_eq!(waiting, PhaseStarts::default());
        let both = phases([ready(), ready(), ProofEvent::Verifying]);
        assert!(both.proving.unwrap() <= both.verifying.unwrap());
    }

    fn attempt(number: u64) -> AttemptInfo {
        AttemptInfo {
            task: TaskId(number),
            attempt: AttemptId(number),
            kind: TaskKind::ProveShard,
            cycles: 0,
            worker: "one".to_owned(),
        }
    }

    #[test]
    fn workers_that_were_ready_before_the_view_prove_from_its_start() {
        assert!(phases([ProofEvent::Done(attempt(1))]).proving.is_some());
    }

    /// Checks the pace after a minute, when `assigned` of the known tasks were assigned and `done` of these are done.
    #[track_caller]
    fn check_pace(tasks: u64, assigned: u64, done: u64, executed: bool, expected: &str) {
        let mut view = ProofProgressView::new();
        (0..tasks).for_each(|_| view.on_event(ProofEvent::Submitted { kind: TaskKind::ProveShard }));
        (0..assigned).for_each(|number| view.on_event(ProofEvent::Assigned(attempt(number))));
        (0..done).for_each(|number| view.on_event(ProofEvent::Done(attempt(number))));
        if executed {
            view.on_event(ProofEvent::Executed { cycles: 1, unread_values: 0 });
        }
        assert_eq!(view.pace(Duration::from_secs(60)), expected);
    }

    #[test]
    fn the_time_left_is_shown_once_the_first_round_of_tasks_is_done() {
        check_pace(10, 2, 1, true, "");
        check_pace(10, 4, 2, true, "");
        check_pace(10, 4, 3, false, ", 3.0 tasks per minute, at least 2 min left");
        check_pace(10, 4, 3, true, ", 3.0 tasks per minute, about 2 min left");
        check_pace(10, 7, 3, true, "");
        check_pace(10, 8, 5, true, ", 5.0 tasks per minute, about 60 s left");
        check_pace(10, 10, 10, true, "");
    }

    #[test]
    fn counts_are_shown_as_incomplete_from_lost_events_until_a_restart() {
        let mut view = ProofProgressView::new();
        let submitted = || ProofEvent::Submitted { kind: TaskKind::ProveShard };
        (0..10).for_each(|_| view.on_event(submitted()));
        (0..4).for_each(|number| view.on_event(ProofEvent::Done(attempt(number))));
        assert_eq!(view.pace(Duration::from_secs(60)), ", 4.0 tasks per minute, at least 90 s left");
        view.on_lost_events(1);
        view.on_event(ProofEvent::Done(attempt(4)));
        assert_eq!(view.pace(Duration::from_secs(60)), ", counts incomplete");
        view.on_event(ProofEvent::Restarted { reason: "a shard is too large".to_owned() });
        (0..10).for_each(|_| view.on_event(submitted()));
        (0..4).for_each(|number| view.on_event(ProofEvent::Done(attempt(number))));
        assert_eq!(view.pace(Duration::from_secs(60)), ", 4.0 tasks per minute, at least 90 s left");
    }

    #[test]
    fn a_done_task_whose_submission_was_lost_is_known() {
        let mut view = ProofProgressView::new();
        view.on_lost_events(1);
        (0..2).for_each(|number| view.on_event(ProofEvent::Done(attempt(number))));
        view.on_event(ProofEvent::CachedResult { kind: TaskKind::ProveShard });
        assert_eq!((view.tasks.known, view.tasks.done), (3, 3));
    }

    #[tokio::test]
    async fn lost_events_do_not_end_the_view() {
        let (events, received) = broadcast::channel(1);
        events.send(ready()).unwrap();
        events.send(ProofEvent::Verifying).unwrap();
        drop(events);
        assert!(show_progress(received).await.verifying.is_some());
    }

    #[test]
    fn estimates_are_rounded() {
        for (seconds, expected) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (9000, "2.5 h")] {
            assert_eq!(rounded(Duration::from_secs(seconds)), expected);
        }
    }
}
