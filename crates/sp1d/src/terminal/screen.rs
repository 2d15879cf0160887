//! Progress bars on stderr, and the text above them.

use super::printable::printable;
use console::Term;
use indicatif::{MultiProgress, ProgressDrawTarget, TermLike};
use std::{
    io::{self, IsTerminal, Write},
    sync::LazyLock,
};
use tracing_subscriber::fmt::MakeWriter;

/// All progress bars and spinners.
pub(super) static SCREEN: LazyLock<MultiProgress> = LazyLock::new(|| {
    MultiProgress::with_draw_target(if io::stderr().is_terminal() {
        ProgressDrawTarget::term_like_with_hz(Box::new(BestEffortTerminal(Term::stderr())), 20)
    } else {
        ProgressDrawTarget::hidden()
    })
});

/// A terminal that may be closed at any time. Drawing errors are ignored: work continues when the terminal is gone.
#[derive(Debug)]
struct BestEffortTerminal(Term);

/// Forwards each method to the terminal and ignores its error.
macro_rules! if_there {
    ($($method:ident($($argument:ident: $kind:ty),*)),* $(,)?) => {$(
        fn $method(&self $(, $argument: $kind)*) -> io::Result<()> {
            let _ = self.0.$method($($argument),*);
            Ok(())
        }
    )*};
}

impl TermLike for BestEffortTerminal {
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
pub(crate) struct AboveProgress;

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
fn say(bytes: &[u8]) {
    let _ = io::stderr().write_all(bytes);
}

/// Writes text to stderr, without characters that a terminal obeys, and ignores errors.
pub(crate) fn say_text(text: &str) {
    say(printable(text).as_bytes());
}
