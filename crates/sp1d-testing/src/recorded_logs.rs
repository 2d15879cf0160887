//! What a test has logged: a log subscriber that keeps warnings and errors as text.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};
use tracing::{
    Dispatch, Level,
    subscriber::{DefaultGuard, NoSubscriber},
};

/// Records the warnings and errors of the thread of a test, until it is dropped. All tasks of the test must run on this
/// thread.
#[derive(Debug)]
pub struct RecordedLogs {
    text: LogText,
    _guard: DefaultGuard,
    /// For the same reason as in [`DispatcherPanic`](crate::DispatcherPanic).
    _second: Dispatch,
}

#[derive(Debug, Clone, Default)]
struct LogText(Arc<Mutex<Vec<u8>>>);

impl Write for LogText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl RecordedLogs {
    /// Starts recording.
    #[must_use]
    pub fn start() -> Self {
        let text = LogText::default();
        let writer = text.clone();
        let second = Dispatch::new(NoSubscriber::default());
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::WARN)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber), _second: second }
    }

    /// Returns the recorded lines that contain `part`.
    #[must_use]
    pub fn lines_with(&self, part: &str) -> Vec<String> {
        let bytes = self.text.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes);
        text.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_while_it_exists_are_recorded() {
        tracing::warn!("before");
        let logs = RecordedLogs::start();
        tracing::warn!(worker = "one", "during");
        tracing::info!("unimportant");
        assert_eq!(logs.lines_with("").len(), 1, "{logs:?}");
        assert_eq!(logs.lines_with("during worker=\"one\"").len(), 1, "{logs:?}");
        assert_eq!(logs.lines_with("unimportant").len(), 0, "{logs:?}");
    }
}
