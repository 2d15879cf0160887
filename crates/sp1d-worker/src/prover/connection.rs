//! The worker's end of the socket to a running prover process: handles the messages of the process, and measures its
//! memory.

use super::{
    calls::carry_out,
    contents::{FREED_MEMORY_DELAY, ProverAttemptId},
    frames::frames,
    process::{ProverProcess, ProverState},
};
use crate::{engine::AttemptError, load_error::LoadError, machine_memory::StartLock};
use sp1d_machine::{live_bytes, resident_bytes};
use sp1d_protocol::prover_wire::{self as wire, FromProver, ToProver, from_prover};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::UnixStream,
    process::Child,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

sp1d_model::limits! {
    /// Maximum loading time. A process that loads longer is stuck and is killed.
    const LOAD_TIMEOUT: Duration = Duration::from_secs(15 * 60); Time by Prover;
    /// Maximum number of calls from a process that are carried out at the same time.
    const MAX_CALLS: usize = 64; Count by Prover;
}

/// How often the resident memory of a process is measured.
const RESIDENT_INTERVAL: Duration = Duration::from_millis(250);

/// Minimum pause between measurements of live memory. The memory peak of a shard lasts some seconds.
const MIN_LIVE_INTERVAL: Duration = Duration::from_secs(1);

/// The pause is at least this many times as long as the measurement itself, so measurements take at most 2 % of a core.
/// A measurement takes one to six milliseconds of a core per gigabyte, and longer on busy cores.
const MIN_LIVE_INTERVAL_RATIO: u32 = 50;

/// Why the worker no longer serves a process.
pub(super) enum ConnectionEnd {
    /// The socket is closed. The process ends, or it is killed.
    Closed,
    Stopped,
    Unloadable(LoadError),
}

/// A running process, and the worker's end of its socket.
pub(super) struct ProcessConnection<'a> {
    process: &'a Arc<ProverProcess>,
    pub(super) child: Child,
    /// Held while the prover is loading.
    lock: Option<StartLock>,
    started: Instant,
    load_time: &'a mut Duration,
    /// The time at which the process is killed, if there is one.
    deadline: Option<Instant>,
    pub(super) loaded: bool,
    /// True once an attempt has succeeded in the process.
    pub(super) has_succeeded: bool,
}

impl<'a> ProcessConnection<'a> {
    pub(super) fn new(
        process: &'a Arc<ProverProcess>,
        child: Child,
        lock: StartLock,
        started: Instant,
        load_time: &'a mut Duration,
    ) -> Self {
        let deadline = Some(started + LOAD_TIMEOUT);
        let lock = Some(lock);
        Self { process, child, lock, started, load_time, deadline, loaded: false, has_succeeded: false }
    }

    /// Handles messages of the process until it ends or must be killed. The flag is true if it must be killed because
    /// of a cancelled attempt.
    pub(super) async fn serve(&mut self, stream: UnixStream, stop: &CancellationToken) -> (ConnectionEnd, bool) {
        let (mut reader, out, writing) = frames::<ToProver>(stream);
        // Aborted at the end, together with the reader. That closes the socket.
        let writing = AbortOnDropHandle::new(tokio::spawn(writing));
        let mut calls = JoinSet::new();
        let mut resident_interval = interval(RESIDENT_INTERVAL);
        resident_interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // Contains at most one measurement of live memory at a time.
        let mut measurements = JoinSet::new();
        let end = loop {
            let deadline = self.deadline;
            let late = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break (ConnectionEnd::Stopped, false),
                () = late => break (ConnectionEnd::Closed, self.loaded),
                _ = resident_interval.tick() => {
                    self.measure_resident();
                    if measurements.is_empty()
                        && let Some(measurement) = self.measure_live()
                    {
                        measurements.spawn(measurement);
                    }
                }
                Some(_) = measurements.join_next() => {}
                Some(_) = calls.join_next() => {}
                message = reader.next::<FromProver>(), if calls.len() < MAX_CALLS => match message {
                    Ok(Some(FromProver { message: Some(from_prover::Message::LoadFailed(failed)) })) => {
                        let error = if failed.is_temporary { LoadError::Gpu } else { LoadError::Engine };
                        break (ConnectionEnd::Unloadable(error(failed.reason)), false);
                    }
                    Ok(Some(FromProver { message: Some(from_prover::Message::Call(call)) })) => {
                        let id = ProverAttemptId(call.attempt);
                        let io = self.process.contents().attempts.get(&id).map(|attempt| attempt.io.clone());
                        calls.spawn(carry_out(call, io, out.clone()));
                    }
                    Ok(Some(FromProver { message })) => self.on_message(message, &out),
                    Ok(None) => break (ConnectionEnd::Closed, false),
                    Err(error) => {
                        tracing::warn!(prover = self.process.number, %error, "connection to the prover failed");
                        break (ConnectionEnd::Closed, false);
                    }
                },
            }
        };
        self.process.contents().out = None;
        drop(writing);
        end
    }

    fn measure_resident(&self) {
        let resident = self.child.id().and_then(resident_bytes).unwrap_or(0);
        let mut contents = self.process.contents();
        contents.peak_bytes = contents.peak_bytes.max(resident);
    }

    /// Measures the live memory, if attempts are running in the process. Resolves when the next measurement may start.
    fn measure_live(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let process_id = self.child.id()?;
        let process = self.process.clone();
        let changes = {
            let contents = process.contents();
            (!contents.attempts.is_empty()).then_some(contents.changes)?
        };
        Some(async move {
            let started = Instant::now();
            let live = tokio::task::spawn_blocking(move || live_bytes(process_id)).await;
            let pause = MIN_LIVE_INTERVAL.max(started.elapsed() * MIN_LIVE_INTERVAL_RATIO);
            if let Ok(Some(bytes)) = live {
                process.contents().note_live(bytes, changes);
            }
            sleep(pause).await;
        })
    }

    fn on_message(&mut self, message: Option<from_prover::Message>, out: &mpsc::Sender<ToProver>) {
        match message {
            Some(from_prover::Message::Ready(_)) => self.on_ready(out),
            Some(from_prover::Message::Ended(ended)) => self.on_ended(ended),
            Some(from_prover::Message::Busy(wire::Busy { busy: true })) if self.loaded => self.on_busy(),
            Some(from_prover::Message::Busy(wire::Busy { busy: false })) if self.loaded => {
                self.deadline = None;
                self.process.contents().may_hang = false;
                self.process.set_state(ProverState::Ready);
                self.process.notify_freed();
            }
            _ => {}
        }
    }

    fn on_ready(&mut self, out: &mpsc::Sender<ToProver>) {
        self.loaded = true;
        self.deadline = None;
        self.lock = None;
        *self.load_time = self.started.elapsed();
        let process = self.child.id();
        let rest_bytes = process.and_then(resident_bytes).unwrap_or(0);
        {
            let mut contents = self.process.contents();
            (contents.out, contents.process, contents.rest_bytes) = (Some(out.clone()), process, rest_bytes);
            (contents.min_live_bytes, contents.left_until, contents.may_hang) = (rest_bytes, None, false);
        }
        let gigabytes = (rest_bytes / 10_000_000) as f64 / 100.0;
        tracing::info!(prover = self.process.number, seconds = self.load_time.as_secs_f32(), gigabytes, "prover ready");
        self.process.set_state(ProverState::Ready);
        self.process.notify_freed();
    }

    /// Waits for the stage of a cancelled attempt as long as a restart takes. That costs at most twice as much as the
    /// better choice.
    fn on_busy(&mut self) {
        let ready_at = Instant::now() + *self.load_time;
        self.deadline = Some(ready_at);
        self.process.set_state(ProverState::Starting { ready_at });
    }

    fn on_ended(&mut self, wire::Ended { attempt, failure }: wire::Ended) {
        self.has_succeeded |= failure.is_none();
        let ended = {
            let mut contents = self.process.contents();
            let ended = contents.remove(ProverAttemptId(attempt), FREED_MEMORY_DELAY);
            if ended.is_some() {
                contents.may_hang = false;
            }
            ended
        };
        if let Some(ended) = ended {
            let outcome = failure.map_or(Ok(()), |failure| {
                let kind = sp1d_protocol::wire::FailureKind::try_from(failure.kind).unwrap_or_default();
                Err(AttemptError { kind: sp1d_protocol::failure_kind_from_wire(kind), text: failure.text })
            });
            ended.end(outcome);
        }
        self.process.notify_freed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prover::contents::RunningAttempt;
    use sp1d_protocol::prover_wire::to_prover;
    use tokio::process::Command;

    const fn busy(busy: bool) -> from_prover::Message {
        from_prover::Message::Busy(wire::Busy { busy })
    }

    /// Cancels an attempt in a loaded process, in which another attempt stays if `has_other` is true. The process must
    /// take no attempt before the last of `messages` arrives, and it must be killed later only while it is busy.
    async fn check(has_other: bool, messages: &[from_prover::Message]) {
        let (process, _outcome) = ProverProcess::with_attempt();
        let (other, _other_outcome) = RunningAttempt::example();
        let (out, mut sent) = mpsc::channel(1);
        {
            let mut contents = process.contents();
            contents.out = Some(out.clone());
            if has_other {
                contents.add(ProverAttemptId(2), other);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let lock = StartLock::take(&folder.path().join("own/lock"), || {}).await;
        let child = Command::new("true").spawn().unwrap();
        let mut load_time = Duration::from_secs(60);
        let mut connection = ProcessConnection::new(&process, child, lock, Instant::now(), &mut load_time);
        (connection.loaded, connection.deadline) = (true, None);
        process.cancel(ProverAttemptId(1));
        let cancel = to_prover::Message::Cancel(wire::Cancel { attempt: 1, is_last: !has_other });
        assert_eq!(sent.try_recv().unwrap().message, Some(cancel));
        for message in messages {
            assert_eq!(process.attempts_if_open(), None, "before {message:?}");
            assert_eq!(process.capacity(), usize::from(has_other && *process.state().borrow() == ProverState::Ready));
            connection.on_message(Some(message.clone()), &out);
            assert_eq!(connection.deadline.is_some(), *message == busy(true));
        }
        assert_eq!((process.attempts_if_open(), process.capacity()), (Some(0), 2));
    }

    #[tokio::test]
    async fn a_process_takes_no_attempt_while_the_stage_of_a_cancelled_one_may_hang() {
        check(false, &[busy(false)]).await;
        check(false, &[busy(true), busy(false)]).await;
        let ended = |attempt| from_prover::Message::Ended(wire::Ended { attempt, failure: None });
        // The first message crosses the cancellation.
        check(false, &[ended(1), busy(false)]).await;
        check(true, &[ended(1), ended(2)]).await;
    }
}
