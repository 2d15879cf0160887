//! Converts the events of a proof into time slices, which show how long execution and attempts took.

use sp1d_model::{AttemptId, FailureInfo, Moment, ProofEvent, ProofFailureKind, TaskId, TaskKind};
use std::collections::BTreeMap;

/// The machine on which a slice took place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TimelineTrack {
    /// The machine of the service, which executes the program.
    Execution,
    /// The worker with this name.
    Worker(String),
}

/// A period of time in which a machine executed the program, or a worker held or proved an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimelineSlice {
    pub(crate) track: TimelineTrack,
    /// The task kind while the worker proves, `waiting` while the attempt waits on the worker, or `execution`.
    pub(crate) name: String,
    pub(crate) from: Moment,
    pub(crate) to: Moment,
    pub(crate) details: SliceDetails,
}

/// Details of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SliceDetails {
    /// An execution that ran to its end, with its number of cycles.
    Cycles(u64),
    /// An execution that did not run to its end. `failed` is true if the program itself is at fault.
    Outcome {
        outcome: &'static str,
        failed: bool,
    },
    Attempt {
        task: TaskId,
        attempt: AttemptId,
        outcome: String,
        failed: bool,
    },
}

/// An attempt that its worker has.
struct OpenAttempt {
    worker: String,
    kind: TaskKind,
    task: TaskId,
    assigned: Moment,
    proving: Option<Moment>,
}

/// Takes the events of a proof in order, and returns each slice when it ends.
#[derive(Default)]
pub(crate) struct Timeline {
    open: BTreeMap<AttemptId, OpenAttempt>,
    executing: Option<Moment>,
    last: Option<Moment>,
}

impl Timeline {
    /// Processes the next event, which happened at `at`, and returns the slices that it ends.
    pub(crate) fn note(&mut self, at: Moment, event: &ProofEvent) -> Vec<TimelineSlice> {
        let before = self.last.replace(at).unwrap_or(at);
        match event {
            ProofEvent::Started { .. } => {
                let lost = self.end_all(before, "lost when the service stopped", false);
                self.executing = Some(at);
                lost
            }
            ProofEvent::Executed { cycles, .. } => {
                let from = self.executing.take();
                from.map(|from| execution(from, at, SliceDetails::Cycles(*cycles))).into_iter().collect()
            }
            ProofEvent::Assigned(attempt) | ProofEvent::Continued(attempt) => {
                let (worker, kind) = (attempt.worker.clone(), attempt.kind);
                let open = OpenAttempt { worker, kind, task: attempt.task, assigned: at, proving: None };
                self.open.insert(attempt.attempt, open);
                Vec::new()
            }
            ProofEvent::Proving(attempt) => {
                if let Some(open) = self.open.get_mut(&attempt.attempt) {
                    open.proving = Some(at);
                }
                Vec::new()
            }
            ProofEvent::Done(attempt) => self.end_attempt(attempt.attempt, at, "done", false),
            ProofEvent::AttemptFailed { attempt, reason } => self.end_attempt(attempt.attempt, at, reason, true),
            ProofEvent::Interrupted(attempt) => {
                self.end_attempt(attempt.attempt, at, "interrupted: the worker disconnected", true)
            }
            ProofEvent::TakenBack(attempt) => self.end_attempt(attempt.attempt, at, "taken back", false),
            ProofEvent::Dropped(attempt) => self.end_attempt(attempt.attempt, at, "dropped: no longer needed", false),
            ProofEvent::Finished { failure, .. } => {
                let is_of_program = |failure: &FailureInfo| failure.kind == ProofFailureKind::Program;
                self.end_all(at, "the proof ended", failure.as_ref().is_some_and(is_of_program))
            }
            // The others end no slice.
            _ => Vec::new(),
        }
    }

    /// Returns the slices that have not ended, up to the time of the last event.
    pub(crate) fn under_way(&mut self) -> Vec<TimelineSlice> {
        self.last.map(|last| self.end_all(last, "in progress", false)).unwrap_or_default()
    }

    /// Ends all open slices at `at` with `outcome`, and returns them.
    pub(crate) fn end(&mut self, at: Moment, outcome: &'static str) -> Vec<TimelineSlice> {
        self.end_all(at, outcome, false)
    }

    fn end_attempt(&mut self, attempt: AttemptId, at: Moment, outcome: &str, failed: bool) -> Vec<TimelineSlice> {
        let Some(OpenAttempt { worker, kind, task, assigned, proving }) = self.open.remove(&attempt) else {
            return Vec::new();
        };
        let slice = |name: &str, from: Moment, to: Moment, failed: bool| TimelineSlice {
            track: TimelineTrack::Worker(worker.clone()),
            name: name.to_owned(),
            from,
            to,
            details: SliceDetails::Attempt { task, attempt, outcome: outcome.to_owned(), failed },
        };
        let started = proving.unwrap_or(at);
        let waiting = (started > assigned).then(|| slice("waiting", assigned, started, failed && proving.is_none()));
        waiting.into_iter().chain(proving.map(|_| slice(kind.name(), started, at, failed))).collect()
    }

    fn end_all(&mut self, at: Moment, outcome: &'static str, failed: bool) -> Vec<TimelineSlice> {
        let open: Vec<AttemptId> = self.open.keys().copied().collect();
        let mut ended: Vec<TimelineSlice> =
            open.into_iter().flat_map(|attempt| self.end_attempt(attempt, at, outcome, false)).collect();
        ended.extend(self.executing.take().map(|from| execution(from, at, SliceDetails::Outcome { outcome, failed })));
        ended
    }
}

fn execution(from: Moment, to: Moment, details: SliceDetails) -> TimelineSlice {
    TimelineSlice { track: TimelineTrack::Execution, name: "execution".to_owned(), from, to, details }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use sp1d_model::{AttemptInfo, EventRecord};

    /// The events of a proof that is started twice.
    fn attempt(attempt: u64, worker: &str) -> AttemptInfo {
        AttemptInfo {
            task: TaskId(7),
            attempt: AttemptId(attempt),
            kind: TaskKind::ProveShard,
            cycles: 0,
            worker: worker.into(),
        }
    }

    pub(crate) fn events() -> Vec<EventRecord> {
        let failed = ProofEvent::AttemptFailed { attempt: attempt(3, "b"), reason: "no memory".into() };
        let events = [
            (0, ProofEvent::Queued),
            (10, ProofEvent::Started { start: 1 }),
            (20, ProofEvent::Assigned(attempt(1, "a"))),
            (25, ProofEvent::Proving(attempt(1, "a"))),
            (30, ProofEvent::Executed { cycles: 5, unread_values: 0 }),
            (31, ProofEvent::Assigned(attempt(2, "b"))),
            (32, ProofEvent::Assigned(attempt(3, "b"))),
            (32, ProofEvent::Proving(attempt(3, "b"))),
            (36, failed),
            (40, ProofEvent::Done(attempt(1, "a"))),
            (50, ProofEvent::Started { start: 2 }),
            (60, ProofEvent::Verifying),
        ];
        let numbered = events.into_iter().zip(1..);
        numbered.map(|((at, event), number)| EventRecord { number, at: Moment(at), event }).collect()
    }

    /// Checks the slices of `events`: track, name, from, to and details.
    #[track_caller]
    fn check(events: &[EventRecord], expected: &[&str]) {
        let mut timeline = Timeline::default();
        let mut slices: Vec<TimelineSlice> =
            events.iter().flat_map(|record| timeline.note(record.at, &record.event)).collect();
        slices.extend(timeline.under_way());
        let shown: Vec<String> = slices
            .iter()
            .map(|TimelineSlice { track, name, from, to, details }| {
                let details = match details {
                    SliceDetails::Cycles(cycles) => format!("{cycles} cycles"),
                    SliceDetails::Outcome { outcome, .. } => (*outcome).to_owned(),
                    SliceDetails::Attempt { attempt, outcome, failed, .. } => {
                        format!("{} {outcome}{}", attempt.0, if *failed { " (failed)" } else { "" })
                    }
                };
                format!("{track:?} {name} {}-{} {details}", from.0, to.0)
            })
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn attempts_become_slices_on_their_workers_track() {
        let expected = [
            "Execution execution 10-30 5 cycles",
            "Worker(\"b\") prove_shard 32-36 3 no memory (failed)",
            "Worker(\"a\") waiting 20-25 1 done",
            "Worker(\"a\") prove_shard 25-40 1 done",
            // Attempt 2 was lost before its proving started.
            "Worker(\"b\") waiting 31-40 2 lost when the service stopped",
            "Execution execution 50-60 in progress",
        ];
        check(&events(), &expected);
    }

    #[test]
    fn an_interrupted_attempt_ends_its_slice_and_a_continued_one_starts_another() {
        let events = [
            (10, ProofEvent::Assigned(attempt(1, "a"))),
            (10, ProofEvent::Assigned(attempt(2, "a"))),
            (20, ProofEvent::Proving(attempt(1, "a"))),
            (30, ProofEvent::TakenBack(attempt(2, "a"))),
            (40, ProofEvent::Interrupted(attempt(1, "a"))),
            (50, ProofEvent::Continued(attempt(1, "a"))),
            (51, ProofEvent::Proving(attempt(1, "a"))),
            (60, ProofEvent::Done(attempt(1, "a"))),
        ];
        let events: Vec<EventRecord> = events
            .into_iter()
            .zip(1..)
            .map(|((at, event), number)| EventRecord { number, at: Moment(at), event })
            .collect();
        let expected = [
            "Worker(\"a\") waiting 10-30 2 taken back",
            "Worker(\"a\") waiting 10-20 1 interrupted: the worker disconnected",
            "Worker(\"a\") prove_shard 20-40 1 interrupted: the worker disconnected (failed)",
            "Worker(\"a\") waiting 50-51 1 done",
            "Worker(\"a\") prove_shard 51-60 1 done",
        ];
        check(&events, &expected);
    }
}
