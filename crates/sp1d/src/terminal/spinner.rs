//! Spinners for single long operations.

use super::{
    printable::printable,
    screen::{SCREEN, say_text},
};
use indicatif::ProgressBar;
use std::time::Duration;

/// Returns a spinner with a text, for a single long operation.
pub(crate) fn spinner(text: String) -> ProgressBar {
    let bar = SCREEN.add(ProgressBar::new_spinner());
    bar.set_message(printable(&text).into_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Writes a line above the progress bars.
pub(crate) fn say_above(bar: &ProgressBar, text: &str) {
    bar.suspend(|| say_text(&format!("{text}\n")));
}
