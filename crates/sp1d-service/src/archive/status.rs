//! The state of the archive, for people and metrics.

use super::place::ArchivePlace;
use sp1d_model::{counted, hint};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Age of the archive above which people are warned.
const MAX_AGE: Duration = Duration::from_secs(60);

/// What the archiver reports.
#[derive(Debug, Default)]
struct ArchiveState {
    /// When the archive last contained the whole state, since the start of the service.
    complete_at: Option<Duration>,
    /// Why the last copy failed. Kept until a copy succeeds.
    trouble: Option<String>,
    /// The archiver has ended and does not try again.
    has_ended: bool,
    /// Files that the state needs and that could not be archived, because they are missing or damaged.
    missing: usize,
}

/// The state of the archive.
#[derive(Debug)]
pub(crate) struct ArchiveStatus {
    place: ArchivePlace,
    started: Instant,
    state: Mutex<ArchiveState>,
}

impl ArchiveStatus {
    pub(super) fn new(place: ArchivePlace) -> Self {
        Self { place, started: Instant::now(), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, ArchiveState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time since the start of the service.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The archive contains the whole state of the time `at`.
    pub(super) fn on_complete(&self, at: Duration) {
        self.lock().complete_at = Some(at);
    }

    /// A copy has succeeded, without `missing` files.
    pub(super) fn on_copied(&self, missing: usize) {
        let mut state = self.lock();
        state.trouble = None;
        state.missing = missing;
    }

    /// A copy failed.
    pub(super) fn on_failure(&self, trouble: String, has_ended: bool) {
        let mut state = self.lock();
        state.trouble = Some(trouble);
        state.has_ended = has_ended;
    }

    /// Returns the time since the archive last contained the whole state; since the start of the service if it never
    /// did.
    pub(crate) fn age(&self) -> Duration {
        self.now().saturating_sub(self.lock().complete_at.unwrap_or_default())
    }

    /// Returns what a person should look at, in sentences.
    pub(crate) fn warnings(&self) -> Vec<String> {
        warnings(&self.place, &self.lock(), self.now())
    }
}

/// Returns what a person should look at, at `now` since the start of the service.
fn warnings(place: &ArchivePlace, state: &ArchiveState, now: Duration) -> Vec<String> {
    let mut warnings = Vec::new();
    let seconds = now.saturating_sub(state.complete_at.unwrap_or_default()).as_secs();
    let trouble = state.trouble.as_deref().map(hint::without);
    let reason = trouble.map_or_else(String::new, |trouble| format!(": {trouble}"));
    let is_old = seconds > MAX_AGE.as_secs();
    match state.complete_at {
        _ if state.has_ended => warnings.push(format!("the service does not archive to {place} any more{reason}")),
        Some(_) if is_old => warnings.push(format!("the archive {place} is {seconds} s old{reason}")),
        None if is_old => {
            warnings.push(format!("the archive {place} has no copy of this run after {seconds} s{reason}"));
        }
        _ => {}
    }
    if state.missing > 0 {
        let missing = counted(state.missing, "file");
        warnings.push(format!("missing or damaged, and not in the archive: {missing} that proofs need"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(state: &ArchiveState, now: u64, expected: &[&str]) {
        let place = ArchivePlace::Folder("/archive".into());
        let found = warnings(&place, state, Duration::from_secs(now));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (warning, part) in found.iter().zip(expected) {
            assert!(warning.contains(part), "{warning}");
        }
    }

    #[test]
    fn people_are_warned_of_an_old_archive_and_of_its_end() {
        let at = |seconds| Some(Duration::from_secs(seconds));
        let trouble = Some("no route\nhint: none".to_owned());
        check(&ArchiveState::default(), 60, &[]);
        check(&ArchiveState::default(), 61, &["has no copy of this run after 61 s"]);
        check(&ArchiveState { complete_at: at(40), ..ArchiveState::default() }, 100, &[]);
        let old = ArchiveState { complete_at: at(40), trouble: trouble.clone(), ..ArchiveState::default() };
        check(&old, 101, &["is 61 s old: no route"]);
        let ended = ArchiveState { complete_at: at(100), trouble, has_ended: true, missing: 2 };
        check(&ended, 100, &["any more: no route", "2 files"]);
    }
}
