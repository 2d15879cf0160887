//! What a command shows: data on stdout, messages and progress bars on stderr. Log lines are written above the bars, so
//! that they do not overwrite each other. This folder does not know the commands.

mod progress;
mod screen;
mod stdout;

pub(crate) use progress::show_progress;
pub(crate) use screen::{AboveProgress, say, say_above, spinner};
pub(crate) use stdout::print;
