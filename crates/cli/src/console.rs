//! Log lines and progress bars on stderr. Log lines are written above the bars, so that they do not overwrite each
//! other.

use crate::{
    args::Log,
    exit::Failure,
    telemetry::{self, Telemetry},
};
use anyhow::Result;
use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use orchestrator::Progress;
use scheduler::TaskKind;
use std::{
    io::{self, IsTerminal, Write},
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio::sync::broadcast::{self, error::RecvError};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// All progress bars and spinners.
static SCREEN: LazyLock<MultiProgress> = LazyLock::new(|| {
    MultiProgress::with_draw_target(if io::stderr().is_terminal() {
        ProgressDrawTarget::term_like_with_hz(Box::new(Terminal(Term::stderr())), 20)
    } else {
        ProgressDrawTarget::hidden()
    })
});

/// A terminal that may be closed at any time. Drawing errors are ignored: work continues when the terminal is gone.
#[derive(Debug)]
struct Terminal(Term);

/// Forwards each method to the terminal and ignores its error.
macro_rules! if_there {
    ($($method:ident($($argument:ident: $kind:ty),*)),* $(,)?) => {$(
        fn $method(&self $(, $argument: $kind)*) -> io::Result<()> {
            let _ = self.0.$method($($argument),*);
            Ok(())
        }
    )*};
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    if_there! {
        move_cursor_up(lines: usize),
        move_cursor_down(lines: usize),
        move_cursor_right(columns: usize),
        move_cursor_left(columns: usize),
        write_line(text: &str),
        write_str(text: &str),
        clear_line(),
        flush(),
    }
}

/// Writes log lines above the progress bars. Write errors are ignored, so a closed stderr stops nothing.
struct AboveProgress;

impl Write for AboveProgress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SCREEN.suspend(|| say(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for AboveProgress {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// Writes to stderr and ignores errors.
pub(crate) fn say(bytes: &[u8]) {
    let _ = io::stderr().write_all(bytes);
}

/// Starts logging to stderr, and to a collector if `telemetry` is given. Without `--log`, our own crates log at the
/// level `own` and all others at `error`.
pub(crate) fn start_logging(log: &Log, own: &str, telemetry: Option<&Telemetry>) -> Result<()> {
    // SP1's `info` lines are only useful to its developers. `sp1_distributed` is a prefix that matches the library and
    // all our crates.
    let default = format!("error,sp1_prover=off,panic=off,opentelemetry=off,sp1d={own},sp1_distributed={own}");
    let text = log.log.as_ref().unwrap_or(&default);
    let filter = EnvFilter::try_new(text).map_err(|error| {
        let hint = "set `--log` or `SP1D_LOG` to a filter such as `info`";
        Failure::usage(format!("invalid log filter {text:?}: {error}\nhint: {hint}"))
    })?;
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(AboveProgress)
        .with_ansi(color)
        .with_file(log.log_source)
        .with_line_number(log.log_source)
        .with_target(log.log_source);
    let lines = match log.log_format {
        crate::args::LogFormat::Text => lines.boxed(),
        crate::args::LogFormat::Json => lines.json().boxed(),
    };
    let sent = telemetry.map(|telemetry| {
        let filter =
            EnvFilter::new(text).and(filter_fn(telemetry::may_be_sent).with_max_level_hint(LevelFilter::TRACE));
        telemetry.layer().with_filter(filter)
    });
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(sent).init();
    Ok(())
}

/// Returns a spinner with a text, for a single long operation.
pub(crate) fn spinner(text: String) -> ProgressBar {
    let bar = SCREEN.add(ProgressBar::new_spinner());
    bar.set_message(text);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Writes a line above the progress bars.
pub(crate) fn say_above(bar: &ProgressBar, text: &str) {
    bar.suspend(|| say(format!("{text}\n").as_bytes()));
}

/// Shows a proof's progress until the channel closes: as a progress bar on a terminal, else as single lines.
pub(crate) async fn show_progress(mut events: broadcast::Receiver<Progress>) {
    let mut view = View::new();
    loop {
        match events.recv().await {
            Ok(event) => view.on_event(event),
            // Some events were lost because too many arrived at once. Later events correct the display.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => break,
        }
    }
    view.bar.finish_and_clear();
}

struct View {
    bar: ProgressBar,
    terminal: bool,
    known: u64,
    done: u64,
    executed: bool,
    ready: bool,
    /// When the first worker became ready. The time before is not part of the rate.
    began: Instant,
}

impl View {
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
        Self { bar, terminal, known: 0, done: 0, executed: false, ready: false, began: Instant::now() }
    }

    fn line(&self, text: &str) {
        if !self.terminal {
            say(format!("{text}\n").as_bytes());
        }
    }

    fn on_event(&mut self, event: Progress) {
        match event {
            Progress::Submitted(_) => {
                self.known += 1;
                self.bar.set_length(self.known);
            }
            Progress::Done { kind, worker } => {
                self.done += 1;
                if !self.ready {
                    // The workers were ready before this view subscribed to events.
                    self.ready = true;
                    self.bar.set_prefix("proving");
                }
                self.bar.set_position(self.done);
                self.bar.set_message(format!(", {}", self.pace()));
                self.line(&self.summary(kind, &worker));
            }
            Progress::Remembered(_) => {
                self.done += 1;
                self.bar.set_position(self.done);
            }
            // Only `Done` changes the counts.
            Progress::Attempt(_) => {}
            Progress::Executed { cycles } => {
                self.executed = true;
                self.line(&format!("executed: {cycles} cycles"));
            }
            Progress::WorkerReady(worker) => {
                if !self.ready {
                    (self.ready, self.began) = (true, Instant::now());
                    self.bar.set_prefix("proving");
                    self.bar.reset_elapsed();
                }
                self.line(&format!("worker {worker} is ready"));
            }
            Progress::WorkerLost { worker, reason } => {
                let text = format!("worker {worker} is lost: {reason}; its tasks go to other workers\n");
                self.bar.suspend(|| say(text.as_bytes()));
            }
            Progress::Restarted { reason } => {
                (self.known, self.done, self.executed, self.began) = (0, 0, false, Instant::now());
                self.bar.set_length(0);
                self.bar.set_position(0);
                self.bar.reset_elapsed();
                let text = format!("the proof restarts: {reason}\n");
                self.bar.suspend(|| say(text.as_bytes()));
            }
            Progress::Cut { name, reason, .. } => {
                let text = format!("cut {name}: {reason}\n");
                self.bar.suspend(|| say(text.as_bytes()));
            }
            Progress::Verifying => {
                self.bar.set_prefix("verifying");
                self.line("verifying");
            }
        }
    }

    fn summary(&self, kind: TaskKind, worker: &str) -> String {
        let elapsed = self.began.elapsed().as_secs();
        let more = if self.executed { "" } else { "+" };
        let (done, known, pace) = (self.done, self.known, self.pace());
        format!("{done}/{known}{more} tasks done ({kind} on {worker}), {elapsed} s elapsed, {pace}")
    }

    fn pace(&self) -> String {
        let rate = self.done as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let left = self.known.saturating_sub(self.done) as f64 / rate;
        format!("{:.1} tasks per minute, about {left:.0} s left", rate * 60.0)
    }
}
