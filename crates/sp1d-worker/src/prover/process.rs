//! One prover process, as the worker sees it: its state, and the attempts that it takes.

use super::{
    contents::{CANCELLED_MEMORY_DELAY, ProcessContents, ProverAttemptId, RunningAttempt},
    rules::ProverRules,
};
use crate::{
    engine::{AttemptError, AttemptIo},
    load_error::LoadError,
};
use prost::Message;
use sp1d_protocol::{
    Assignment, FailureKind,
    prover_wire::{self as wire, ToProver, to_prover},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};

/// Whether a process can take attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProverState {
    /// The process is loading, or waits before it loads. Or a stage of a cancelled attempt is still running in it.
    Starting {
        ready_at: Instant,
    },
    Ready,
    /// The process can never be ready.
    Failed(LoadError),
}

/// A prover process, seen from the worker.
pub(super) struct ProverProcess {
    pub(super) number: usize,
    places: usize,
    contents: Mutex<ProcessContents>,
    state: watch::Sender<ProverState>,
    /// Notifies waiting callers that a place may be free.
    freed: Arc<Notify>,
}

/// Cancels an attempt in the process when the worker drops the attempt.
struct CancelOnDrop<'a> {
    process: &'a ProverProcess,
    id: ProverAttemptId,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.process.cancel(self.id);
    }
}

impl ProverProcess {
    pub(super) fn new(number: usize, rules: &ProverRules, freed: Arc<Notify>) -> Self {
        let state = watch::Sender::new(ProverState::Starting { ready_at: Instant::now() + rules.load_estimate });
        Self { number, places: rules.places.max(1), contents: Mutex::default(), state, freed }
    }

    pub(super) fn contents(&self) -> MutexGuard<'_, ProcessContents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> watch::Receiver<ProverState> {
        self.state.subscribe()
    }

    pub(super) fn set_state(&self, state: ProverState) {
        self.state.send_replace(state);
    }

    /// Notifies waiting callers that a place may be free.
    pub(super) fn notify_freed(&self) {
        self.freed.notify_waiters();
    }

    /// Returns the number of attempts that the process can run at the same time now, with these `contents`.
    fn capacity_with(&self, contents: &ProcessContents) -> usize {
        let is_ready = *self.state.borrow() == ProverState::Ready;
        if !is_ready || contents.out.is_none() {
            0
        } else if contents.may_hang {
            contents.attempts.len()
        } else if contents.solo {
            1
        } else {
            self.places
        }
    }

    /// Returns the number of attempts that the process can run at the same time now, with those that it runs already.
    pub(super) fn capacity(&self) -> usize {
        self.capacity_with(&self.contents())
    }

    /// Returns the number of attempts in the process, or `None` if it cannot take another one now.
    pub(super) fn attempts_if_open(&self) -> Option<usize> {
        let contents = self.contents();
        let is_open = contents.attempts.len() < self.capacity_with(&contents);
        is_open.then_some(contents.attempts.len())
    }

    /// Returns the process id, and the resident bytes measured right after loading. `None` while the prover is not
    /// loaded.
    pub(super) fn footprint(&self) -> Option<(u32, u64)> {
        let contents = self.contents();
        Some((contents.process?, contents.rest_bytes))
    }

    pub(super) fn release_memory(&self) {
        if let Some(out) = &self.contents().out {
            // If the queue is full, the process is busy and needs its memory.
            let _ = out.try_send(ToProver { message: Some(to_prover::Message::ReleaseMemory(wire::ReleaseMemory {})) });
        }
    }

    /// Runs an attempt. Returns the attempt as `Err` if the process cannot take it now.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the attempt.
    pub(super) async fn run(
        &self,
        assignment: Assignment,
        io: Arc<dyn AttemptIo>,
    ) -> Result<Result<(), AttemptError>, (Assignment, Arc<dyn AttemptIo>)> {
        let (done, outcome) = oneshot::channel();
        let started = {
            let mut contents = self.contents();
            let is_open = contents.attempts.len() < self.capacity_with(&contents);
            match contents.out.clone().filter(|_| is_open) {
                Some(out) => {
                    let taken = |place: &usize| contents.attempts.values().any(|attempt| attempt.place == *place);
                    let place =
                        (0..self.places).find(|place| !taken(place)).expect("there are fewer attempts than places");
                    contents.last_attempt.0 += 1;
                    let id = contents.last_attempt;
                    let estimated_bytes = assignment.memory_bytes;
                    contents.add(id, RunningAttempt { place, io: io.clone(), done, estimated_bytes, memory: None });
                    Some((id, place, out))
                }
                None => None,
            }
        };
        let Some((id, place, out)) = started else { return Err((assignment, io)) };
        let _cancel = CancelOnDrop { process: self, id };
        let assign = sp1d_protocol::wire::Assign::from(assignment).encode_to_vec().into();
        let place = u32::try_from(place).expect("the number of places fits into 32 bits");
        let run = wire::Run { attempt: id.0, place, assign };
        // If the process is gone, `on_end` ends the attempt.
        let _ = out.send(ToProver { message: Some(to_prover::Message::Run(run)) }).await;
        Ok(outcome.await.unwrap_or_else(|_| {
            Err(AttemptError { kind: FailureKind::Killed, text: "the worker is stopping".to_owned() })
        }))
    }

    /// Removes the attempt `id`, if it is still in the process, and cancels it there.
    pub(super) fn cancel(&self, id: ProverAttemptId) {
        let mut contents = self.contents();
        if contents.remove(id, CANCELLED_MEMORY_DELAY).is_some()
            && let Some(out) = contents.out.clone()
        {
            contents.may_hang = true;
            let cancel = wire::Cancel { attempt: id.0, is_last: contents.attempts.is_empty() };
            let cancel = ToProver { message: Some(to_prover::Message::Cancel(cancel)) };
            if let Err(mpsc::error::TrySendError::Full(cancel)) = out.try_send(cancel) {
                tokio::spawn(async move { out.send(cancel).await });
            }
        }
        drop(contents);
        self.notify_freed();
    }
}

#[cfg(test)]
impl ProverProcess {
    /// Returns a loaded process with one attempt, and the receiver of the outcome.
    pub(super) fn with_attempt() -> (Arc<Self>, oneshot::Receiver<Result<(), AttemptError>>) {
        let process = Arc::new(Self::new(0, &ProverRules::example(), Arc::default()));
        process.set_state(ProverState::Ready);
        let (attempt, outcome) = RunningAttempt::example();
        {
            let mut contents = process.contents();
            (contents.out, contents.process) = (Some(mpsc::channel(1).0), Some(1));
            contents.add(ProverAttemptId(1), attempt);
        }
        (process, outcome)
    }
}
