//! The progress of a running proof: a progress bar on a terminal, else single lines.

use super::screen::{SCREEN, say_text};
use indicatif::{ProgressBar, ProgressStyle};
use sp1d_model::{AttemptInfo, ProofEvent, TaskKind, counted, cut_sentence};
use std::{
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
    known: u64,
    done: u64,
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
        let (started, phases) = (Instant::now(), PhaseStarts::default());
        Self { bar, terminal, known: 0, done: 0, executed: false, ready: false, started, phases }
    }

    fn line(&self, text: &str) {
        if !self.terminal {
            say_text(&format!("{text}\n"));
        }
    }

    fn on_event(&mut self, event: ProofEvent) {
        match event {
            ProofEvent::Submitted { .. } => {
                self.known += 1;
                self.bar.set_length(self.known);
            }
            ProofEvent::Done(AttemptInfo { kind, worker, .. }) => {
                self.done += 1;
                if !self.ready {
                    // The workers were ready before this view subscribed to events.
                    self.ready = true;
                    self.phases.proving = Some(self.started);
                    self.bar.set_prefix("proving");
                }
                self.bar.set_position(self.done);
                self.bar.set_message(format!(", {}", self.pace()));
                self.line(&self.summary(kind, &worker));
            }
            ProofEvent::CachedResult { .. } => {
                self.done += 1;
                self.bar.set_position(self.done);
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
                (self.known, self.done, self.executed, self.started) = (0, 0, false, Instant::now());
                self.bar.set_length(0);
                self.bar.set_position(0);
                self.bar.reset_elapsed();
                let text = format!("the proof restarts: {reason}\n");
                self.bar.suspend(|| say_text(&text));
            }
            ProofEvent::Cut { name, reason, .. } => {
                let text = format!("{}\n", cut_sentence(&name, &reason));
                self.bar.suspend(|| say_text(&text));
            }
            ProofEvent::Verifying => {
                self.phases.verifying = Some(Instant::now());
                self.bar.set_prefix("verifying");
                self.line("verifying");
            }
            // Only finished tasks change the counts. The other events are about attempts, or only a service has them.
            _ => {}
        }
    }

    fn on_silence(&self) {
        let (elapsed, done, known) = (self.started.elapsed().as_secs(), self.done, self.known);
        if self.ready {
            self.line(&format!("proving: {done}/{known} tasks done, {elapsed} s elapsed"));
        } else {
            self.line(&format!("no worker is ready yet, {elapsed} s elapsed"));
        }
    }

    fn summary(&self, kind: TaskKind, worker: &str) -> String {
        let elapsed = self.started.elapsed().as_secs();
        let more = if self.executed { "" } else { "+" };
        let (done, known, pace) = (self.done, self.known, self.pace());
        format!("{done}/{known}{more} tasks done ({kind} on {worker}), {elapsed} s elapsed, {pace}")
    }

    fn pace(&self) -> String {
        let rate = self.done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let left = self.known.saturating_sub(self.done) as f64 / rate;
        format!("{:.1} tasks per minute, about {left:.0} s left", rate * 60.0)
    }
}

/// Shows a proof's progress until the channel closes: as a progress bar on a terminal, else as single lines. Returns
/// when its phases started.
pub(crate) async fn show_progress(mut events: broadcast::Receiver<ProofEvent>) -> PhaseStarts {
    let mut view = ProofProgressView::new();
    loop {
        match timeout(SILENCE, events.recv()).await {
            Ok(Ok(event)) => view.on_event(event),
            // Some events were lost because too many arrived at once. Later events correct the display.
            Ok(Err(RecvError::Lagged(_))) => {}
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

    #[test]
    fn workers_that_were_ready_before_the_view_prove_from_its_start() {
        let attempt = AttemptInfo {
            task: TaskId(1),
            attempt: AttemptId(1),
            kind: TaskKind::ProveShard,
            cycles: 0,
            worker: "one".to_owned(),
        };
        assert!(phases([ProofEvent::Done(attempt)]).proving.is_some());
    }
}
