//! What a command shows: data on stdout, messages and progress bars on stderr. Log lines are written above the bars, so
//! that they do not overwrite each other. Escape and control characters of texts are shown, not obeyed, except those of
//! log lines: the logger has escaped them already. This folder does not know the commands.

mod printable;
#[cfg(feature = "prover")]
mod progress;
mod screen;
#[cfg(feature = "prover")]
mod spinner;
mod stdout;

#[cfg(feature = "prover")]
pub(crate) use progress::{PhaseStarts, show_progress};
pub(crate) use screen::{AboveProgress, say_text};
#[cfg(feature = "prover")]
pub(crate) use spinner::{say_above, spinner};
pub(crate) use stdout::print;
