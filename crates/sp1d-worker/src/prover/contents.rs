//! The attempts in a prover process, and the memory that they use.

use crate::engine::{AttemptError, AttemptIo, MemoryUse};
use sp1d_protocol::prover_wire::ToProver;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

/// How long freed memory still looks live. The allocator keeps it for some seconds before it offers it to the kernel.
pub(super) const FREED_MEMORY_DELAY: Duration = Duration::from_secs(10);

/// The same after a cancelled attempt, whose stage may run to its end.
pub(super) const CANCELLED_MEMORY_DELAY: Duration = Duration::from_secs(120);

/// Number of an attempt in a prover process. Numbers do not repeat while the worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct ProverAttemptId(pub(super) u64);

/// An attempt that is running in a process.
pub(super) struct RunningAttempt {
    pub(super) place: usize,
    pub(super) io: Arc<dyn AttemptIo>,
    pub(super) done: oneshot::Sender<Result<(), AttemptError>>,
    /// Estimated memory of the attempt; 0 if unknown.
    pub(super) estimated_bytes: u64,
    /// The measurement with the highest ratio of used to estimated memory.
    pub(super) memory: Option<MemoryUse>,
}

impl RunningAttempt {
    /// Reports the measured memory, and returns `outcome` to the caller of `ProverProcess::run`.
    pub(super) fn end(self, outcome: Result<(), AttemptError>) {
        if let Some(memory) = self.memory {
            self.io.note_memory(memory);
        }
        // No one waits for the outcome of a cancelled attempt.
        let _ = self.done.send(outcome);
    }
}

#[cfg(test)]
impl RunningAttempt {
    /// Returns an attempt without artifacts, and the receiver of its outcome.
    pub(super) fn example() -> (Self, oneshot::Receiver<Result<(), AttemptError>>) {
        let (done, outcome) = oneshot::channel();
        let io = Arc::new(tests::MemoryRecorder::default());
        (Self { place: 0, io, done, estimated_bytes: 0, memory: None }, outcome)
    }
}

/// The attempts in a process, and its memory.
#[derive(Default)]
pub(super) struct ProcessContents {
    /// Set while the prover is loaded.
    pub(super) out: Option<mpsc::Sender<ToProver>>,
    pub(super) attempts: BTreeMap<ProverAttemptId, RunningAttempt>,
    pub(super) last_attempt: ProverAttemptId,
    /// Only one attempt runs at a time, because several attempts together ran out of memory.
    pub(super) solo: bool,
    /// A stage of a cancelled attempt may hang. The process takes no attempt until another attempt in it has ended, or
    /// until it reports that no stage runs. Otherwise each new attempt could wait for the stage, and the process would
    /// never be killed, because it would always hold an attempt.
    pub(super) may_hang: bool,
    pub(super) process: Option<u32>,
    pub(super) rest_bytes: u64,
    /// The lowest live memory measured so far, at most `rest_bytes`.
    pub(super) min_live_bytes: u64,
    pub(super) peak_bytes: u64,
    /// Number of times that an attempt started or left.
    pub(super) changes: u64,
    /// Until this time, the process may hold memory of an attempt that has left.
    pub(super) left_until: Option<Instant>,
}

impl ProcessContents {
    pub(super) fn add(&mut self, id: ProverAttemptId, attempt: RunningAttempt) {
        self.changes += 1;
        self.attempts.insert(id, attempt);
    }

    /// Removes an attempt, whose memory may still look live for `memory_delay`.
    pub(super) fn remove(&mut self, id: ProverAttemptId, memory_delay: Duration) -> Option<RunningAttempt> {
        let attempt = self.attempts.remove(&id)?;
        self.changes += 1;
        self.left_until = self.left_until.max(Some(Instant::now() + memory_delay));
        Some(attempt)
    }

    /// Records that the process had `bytes` of live memory. `changes` is the value of `self.changes` from before the
    /// measurement.
    pub(super) fn note_live(&mut self, bytes: u64, changes: u64) {
        self.min_live_bytes = self.min_live_bytes.min(bytes);
        // Part of the memory may belong to an attempt whose estimate no longer counts.
        if changes != self.changes || self.left_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let used_bytes = bytes.saturating_sub(self.min_live_bytes);
        let estimated_bytes =
            self.attempts.values().map(|attempt| attempt.estimated_bytes).fold(0, u64::saturating_add);
        // If one estimate is unknown, the sum of the estimates says nothing.
        if self.attempts.values().any(|attempt| attempt.estimated_bytes == 0) {
            return;
        }
        let now = MemoryUse { used_bytes, estimated_bytes };
        for attempt in self.attempts.values_mut() {
            if attempt.memory.is_none_or(|highest| highest.ratio() < now.ratio()) {
                attempt.memory = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{IoAction, IoError};
    use async_trait::async_trait;
    use std::sync::OnceLock;

    const GB: u64 = 1_000_000_000;

    /// Has no artifacts, and stores the reported memory use.
    #[derive(Default)]
    pub(super) struct MemoryRecorder(OnceLock<MemoryUse>);

    #[async_trait]
    impl AttemptIo for MemoryRecorder {
        async fn fetch(&self, name: &str) -> Result<Vec<u8>, IoError> {
            Err(IoError { action: IoAction::Fetch, name: name.to_owned(), reason: "no such artifact".to_owned() })
        }

        async fn deliver(&self, _: &str, _: Vec<u8>) -> Result<(), IoError> {
            Ok(())
        }

        async fn report_deferred_events(&self) -> Result<(), IoError> {
            Ok(())
        }

        fn note_memory(&self, memory: MemoryUse) {
            self.0.set(memory).unwrap();
        }
    }

    fn running(io: &Arc<MemoryRecorder>, estimated_bytes: u64) -> RunningAttempt {
        RunningAttempt { place: 0, io: io.clone(), done: oneshot::channel().0, estimated_bytes, memory: None }
    }

    /// Runs attempts with `estimates` in a process that uses 1 GB at rest and is then measured at `live`. The first
    /// attempt must report `expected`: used and estimated memory. All values are in gigabytes.
    #[track_caller]
    fn check(estimates: &[u64], live: &[u64], expected: Option<(u64, u64)>) {
        let io = Arc::new(MemoryRecorder::default());
        let mut contents = ProcessContents { rest_bytes: GB, min_live_bytes: GB, ..ProcessContents::default() };
        for (number, estimate) in (0..).zip(estimates) {
            contents.add(ProverAttemptId(number), running(&io, estimate * GB));
        }
        live.iter().for_each(|gigabytes| contents.note_live(gigabytes * GB, contents.changes));
        contents.remove(ProverAttemptId(0), FREED_MEMORY_DELAY).unwrap().end(Ok(()));
        let found = io.0.get().map(|memory| (memory.used_bytes / GB, memory.estimated_bytes / GB));
        assert_eq!(found, expected);
    }

    #[test]
    fn an_attempt_reports_the_highest_measured_memory() {
        check(&[10], &[3, 9, 4], Some((8, 10)));
        check(&[10, 10], &[3, 15, 4], Some((14, 20)));
        check(&[10], &[], None);
        check(&[10, 0], &[9], None);
    }

    #[test]
    fn each_attempt_keeps_its_own_highest_memory_ratio() {
        let io = Arc::new(MemoryRecorder::default());
        let mut contents = ProcessContents::default();
        contents.add(ProverAttemptId(0), running(&io, 10));
        contents.note_live(9, 1);
        contents.add(ProverAttemptId(1), running(&io, 10));
        contents.note_live(14, 2);
        assert_eq!(
            contents.attempts[&ProverAttemptId(0)].memory,
            Some(MemoryUse { used_bytes: 9, estimated_bytes: 10 })
        );
        assert_eq!(
            contents.attempts[&ProverAttemptId(1)].memory,
            Some(MemoryUse { used_bytes: 14, estimated_bytes: 20 })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_a_finished_attempt_is_not_counted_for_others() {
        let io = Arc::new(MemoryRecorder::default());
        let mut contents = ProcessContents::default();
        contents.add(ProverAttemptId(0), running(&io, 100));
        contents.add(ProverAttemptId(1), running(&io, 10));
        let before = contents.changes;
        contents.remove(ProverAttemptId(0), FREED_MEMORY_DELAY).unwrap();
        // One measurement started before the attempt left, and one while its memory may not be freed yet.
        contents.note_live(90, before);
        contents.note_live(90, contents.changes);
        assert_eq!(contents.attempts[&ProverAttemptId(1)].memory, None);
        tokio::time::advance(FREED_MEMORY_DELAY).await;
        contents.note_live(5, contents.changes);
        assert_eq!(
            contents.attempts[&ProverAttemptId(1)].memory,
            Some(MemoryUse { used_bytes: 5, estimated_bytes: 10 })
        );
        contents.remove(ProverAttemptId(1), CANCELLED_MEMORY_DELAY).unwrap();
        contents.add(ProverAttemptId(2), running(&io, 10));
        tokio::time::advance(FREED_MEMORY_DELAY).await;
        contents.note_live(50, contents.changes);
        assert_eq!(
            contents.attempts[&ProverAttemptId(2)].memory,
            None,
            "the stage of a cancelled attempt may still use memory"
        );
    }
}
