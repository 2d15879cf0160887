//! Starts, watches and restarts one prover process.

use super::{exit::Exit, frames::frames};
use crate::{
    StartLock,
    engine::{AttemptError, AttemptIo, IoError, MemoryUse},
    text::without_hint,
    wait_for_memory,
};
use machine::{Memory, live_bytes, resident_bytes};
use prost::Message;
use protocol::{
    Assignment, FailureKind,
    prover_wire::{self as wire, FromProver, ToProver, call, from_prover, reply, to_prover},
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// The command that starts a prover process. The standard input of the process is the socket to the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProverCommand {
    /// The program file, usually the one of the running process.
    pub program: PathBuf,
    /// The arguments that make the program run as a prover.
    pub arguments: Vec<OsString>,
}

/// Settings for the prover processes of a worker.
#[derive(Debug, Clone)]
pub struct ProverRules {
    /// Maximum number of attempts in a process at the same time. At least 1; 0 counts as 1.
    pub slots: usize,
    /// Number of proving threads in each process, for the log. `ProverCommand` must pass it to the process.
    pub threads: usize,
    /// Bytes of memory that must be free before a process starts.
    pub needed_bytes: u64,
    /// How long the first start waits for enough free memory. Later starts wait for up to 24 hours.
    pub wait_memory: Duration,
    /// Estimated loading time. It is replaced by the measured time after the first load.
    pub load_estimate: Duration,
    /// The lock file that makes the provers on a machine load one after another.
    pub start_lock: PathBuf,
}

/// Maximum loading time. A process that loads longer is stuck and is killed.
const MAX_LOAD: Duration = Duration::from_secs(15 * 60);

/// Number of failed loads in a row after which the worker gives up.
const MAX_LOAD_FAILURES: u32 = 5;

/// Pause before the restart of a process that ended while it was loading. It doubles with each failure in a row.
const LOAD_PAUSE: Duration = Duration::from_secs(1);

/// How long a restart waits for memory that other programs use.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// How often the resident memory of a process is measured.
const LOOK: Duration = Duration::from_millis(250);

/// Minimum pause between measurements of live memory. The memory peak of a shard lasts some seconds.
const LOOK_LIVE: Duration = Duration::from_secs(1);
/// The pause is at least this many times as long as the measurement itself. A measurement takes one or two milliseconds
/// of a core per gigabyte, and up to ten times as long on busy cores.
const LOOK_LIVE_PAUSE: u32 = 10;

/// How long a process may take to end after its socket was closed. Then it is killed.
const TO_END: Duration = Duration::from_secs(5);

/// Maximum number of calls from a process that are carried out at the same time.
const MAX_CALLS: usize = 64;

/// Whether a process can take attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// The process is loading, or waits before it loads. Or a stage of a cancelled attempt is still running in it.
    Starting {
        ready_at: Instant,
    },
    Ready,
    /// The process can never be ready. The text states the reason.
    Failed(String),
}

/// An attempt that is running in a process.
struct Run {
    slot: usize,
    io: Arc<dyn AttemptIo>,
    done: oneshot::Sender<Result<(), AttemptError>>,
    /// Estimated memory of the attempt; 0 if unknown.
    estimated_bytes: u64,
    /// The measurement with the highest ratio of used to estimated memory.
    memory: Option<MemoryUse>,
}

impl Run {
    /// Reports the measured memory, and returns `outcome` to the caller of `ProverProcess::run`.
    fn end(self, outcome: Result<(), AttemptError>) {
        if let Some(memory) = self.memory {
            self.io.note_memory(memory);
        }
        // No one waits for the outcome of a cancelled attempt.
        let _ = self.done.send(outcome);
    }
}

/// The attempts in a process, and its memory.
#[derive(Default)]
struct Inside {
    /// Set while the prover is loaded.
    out: Option<mpsc::Sender<ToProver>>,
    runs: BTreeMap<u64, Run>,
    last_run: u64,
    /// Only one attempt runs at a time, because several attempts together ran out of memory.
    solo: bool,
    process: Option<u32>,
    rest_bytes: u64,
    /// The lowest live memory measured so far, at most `rest_bytes`.
    least_live_bytes: u64,
    peak_bytes: u64,
    /// Number of times that an attempt started or left.
    changes: u64,
    /// Until this time, the process may hold memory of an attempt that has left.
    left_until: Option<Instant>,
}

/// How long freed memory still looks live. The allocator keeps it for some seconds before it offers it to the kernel.
const DECAY: Duration = Duration::from_secs(10);

/// The same after a cancelled attempt, whose stage may run to its end.
const STAGE: Duration = Duration::from_secs(120);

impl Inside {
    fn add(&mut self, number: u64, run: Run) {
        self.changes += 1;
        self.runs.insert(number, run);
    }

    fn remove(&mut self, number: u64, memory_for: Duration) -> Option<Run> {
        let run = self.runs.remove(&number)?;
        self.changes += 1;
        self.left_until = self.left_until.max(Some(Instant::now() + memory_for));
        Some(run)
    }

    /// Records that the process had `bytes` of live memory. `changes` is the value of `self.changes` from before the
    /// measurement.
    fn note_live(&mut self, bytes: u64, changes: u64) {
        self.least_live_bytes = self.least_live_bytes.min(bytes);
        // Part of the memory may belong to an attempt whose estimate no longer counts.
        if changes != self.changes || self.left_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let used_bytes = bytes.saturating_sub(self.least_live_bytes);
        let estimated_bytes = self.runs.values().map(|run| run.estimated_bytes).fold(0, u64::saturating_add);
        // If one estimate is unknown, the sum of the estimates says nothing.
        if self.runs.values().any(|run| run.estimated_bytes == 0) {
            return;
        }
        let now = MemoryUse { used_bytes, estimated_bytes };
        for run in self.runs.values_mut() {
            if run.memory.is_none_or(|most| most.part() < now.part()) {
                run.memory = Some(now);
            }
        }
    }
}

/// A prover process, seen from the worker.
pub(super) struct ProverProcess {
    number: usize,
    slots: usize,
    inside: Mutex<Inside>,
    state: watch::Sender<State>,
    /// Notifies waiting callers that a slot may be free.
    freed: Arc<Notify>,
}

/// How one run of the process ended. The process is restarted only after `Ended`.
enum Life {
    Stopped,
    /// The prover can never be loaded. The text states the reason.
    Unloadable(String),
    Ended {
        exit: Exit,
        loaded: bool,
    },
}

/// Cancels an attempt in the process when the worker drops the attempt.
struct CancelOnDrop<'a> {
    process: &'a ProverProcess,
    run: u64,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.process.cancel(self.run);
    }
}

impl ProverProcess {
    pub(super) fn new(number: usize, rules: &ProverRules, freed: Arc<Notify>) -> Self {
        let state = watch::Sender::new(State::Starting { ready_at: Instant::now() + rules.load_estimate });
        Self { number, slots: rules.slots.max(1), inside: Mutex::default(), state, freed }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Returns the number of attempts in the process, or `None` if it cannot take another one now.
    pub(super) fn load(&self) -> Option<usize> {
        let inside = self.inside();
        let places = if inside.solo { 1 } else { self.slots };
        let open = *self.state.borrow() == State::Ready && inside.out.is_some() && inside.runs.len() < places;
        open.then_some(inside.runs.len())
    }

    /// Returns the process id, and the resident bytes measured right after loading. `None` while the prover is not
    /// loaded.
    pub(super) fn footprint(&self) -> Option<(u32, u64)> {
        let inside = self.inside();
        Some((inside.process?, inside.rest_bytes))
    }

    pub(super) fn give_back(&self) {
        if let Some(out) = &self.inside().out {
            // If the queue is full, the process is busy and needs its memory.
            let _ = out.try_send(ToProver { message: Some(to_prover::Message::GiveBack(wire::GiveBack {})) });
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
            let mut inside = self.inside();
            let places = if inside.solo { 1 } else { self.slots };
            let is_ready = *self.state.borrow() == State::Ready;
            match inside.out.clone().filter(|_| is_ready && inside.runs.len() < places) {
                Some(out) => {
                    let taken = |slot: &usize| inside.runs.values().any(|run| run.slot == *slot);
                    let slot = (0..self.slots).find(|slot| !taken(slot)).expect("there are fewer attempts than slots");
                    inside.last_run += 1;
                    let run = inside.last_run;
                    let estimated_bytes = assignment.memory_bytes;
                    inside.add(run, Run { slot, io: io.clone(), done, estimated_bytes, memory: None });
                    Some((run, slot, out))
                }
                None => None,
            }
        };
        let Some((run, slot, out)) = started else { return Err((assignment, io)) };
        let _cancel = CancelOnDrop { process: self, run };
        let assign = protocol::wire::Assign::from(assignment).encode_to_vec().into();
        let slot = u32::try_from(slot).expect("the number of slots fits into 32 bits");
        // If the process is gone, `on_end` ends the attempt.
        let _ = out.send(ToProver { message: Some(to_prover::Message::Run(wire::Run { run, slot, assign })) }).await;
        Ok(outcome.await.unwrap_or_else(|_| {
            Err(AttemptError { kind: FailureKind::Killed, text: "the worker is stopping".to_owned() })
        }))
    }

    /// Removes `run`, if it is still in the process, and cancels it there.
    fn cancel(&self, run: u64) {
        let mut inside = self.inside();
        if inside.remove(run, STAGE).is_some()
            && let Some(out) = inside.out.clone()
        {
            let cancel = ToProver { message: Some(to_prover::Message::Cancel(wire::Cancel { run })) };
            if let Err(mpsc::error::TrySendError::Full(cancel)) = out.try_send(cancel) {
                tokio::spawn(async move { out.send(cancel).await });
            }
        }
        drop(inside);
        self.freed.notify_waiters();
    }

    /// Starts the process, and restarts it whenever it ends. Returns when `stop` is cancelled or the prover cannot be
    /// loaded.
    pub(super) async fn own(self: Arc<Self>, command: ProverCommand, rules: ProverRules, stop: CancellationToken) {
        let (mut failures, mut load_time, mut first) = (0, rules.load_estimate, true);
        loop {
            let life = self.live(&command, &rules, &mut load_time, first, &stop).await;
            first = false;
            match life {
                Life::Stopped => return,
                Life::Unloadable(reason) => {
                    tracing::error!(prover = self.number, reason = %without_hint(&reason), "the prover is given up");
                    self.state.send_replace(State::Failed(reason));
                    return self.freed.notify_waiters();
                }
                Life::Ended { exit, loaded } => {
                    failures = if loaded { 0 } else { failures + 1 };
                    self.on_end(exit, loaded);
                    if failures >= MAX_LOAD_FAILURES {
                        let text = exit.failure(0).text;
                        let reason = format!("cannot load the prover after {failures} tries: {text}");
                        tracing::error!(prover = self.number, %reason, "the prover is given up");
                        self.state.send_replace(State::Failed(reason));
                        return self.freed.notify_waiters();
                    }
                    let pause = if failures == 0 { Duration::ZERO } else { LOAD_PAUSE * 2_u32.pow(failures - 1) };
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// Fails the attempts that were running in the process.
    fn on_end(&self, exit: Exit, loaded: bool) {
        let (runs, peak_bytes) = {
            let mut inside = self.inside();
            inside.out = None;
            inside.process = None;
            let runs = std::mem::take(&mut inside.runs);
            inside.solo |= exit == Exit::OutOfMemory && runs.len() > 1;
            (runs, std::mem::take(&mut inside.peak_bytes))
        };
        let mut failure = exit.failure(peak_bytes);
        let attempts = runs.len();
        if exit == Exit::OutOfMemory && attempts > 1 {
            // Each attempt may fit into memory alone, so none of them is reported as out of memory.
            failure.kind = FailureKind::Killed;
            failure.text.push_str("; several attempts were running in it, so it now runs one at a time");
        }
        if exit == Exit::Cancelled {
            tracing::info!(prover = self.number, "prover restarted to end a cancelled attempt");
        } else {
            tracing::warn!(prover = self.number, attempts, loaded, reason = %failure.text, "prover ended and is restarted");
        }
        for run in runs.into_values() {
            run.end(Err(failure.clone()));
        }
        self.freed.notify_waiters();
    }

    async fn live(
        self: &Arc<Self>,
        command: &ProverCommand,
        rules: &ProverRules,
        load_time: &mut Duration,
        first: bool,
        stop: &CancellationToken,
    ) -> Life {
        let number = self.number;
        self.state.send_replace(State::Starting { ready_at: Instant::now() + *load_time });
        let prepared = async {
            let lock = StartLock::take(&rules.start_lock, || {
                tracing::info!(prover = number, "waiting for another prover on this machine to load");
            });
            let lock = lock.await.map_err(|error| error.to_string())?;
            let wait = if first { rules.wait_memory } else { LONG };
            wait_for_memory(rules.needed_bytes, wait).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(lock)
        };
        let lock = tokio::select! {
            () = stop.cancelled() => return Life::Stopped,
            prepared = prepared => match prepared {
                Ok(lock) => lock,
                Err(reason) => return Life::Unloadable(reason),
            },
        };
        let kills = Memory::oom_kills();
        let (child, stream) = match start(command) {
            Ok(started) => started,
            Err(error) => {
                return Life::Unloadable(format!(
                    "cannot start the prover process {}: {error}",
                    command.program.display()
                ));
            }
        };
        let began = Instant::now();
        self.state.send_replace(State::Starting { ready_at: began + *load_time });
        tracing::info!(
            prover = number,
            about_seconds = load_time.as_secs(),
            threads = rules.threads,
            "loading the prover"
        );
        let mut life = Living {
            process: self,
            child,
            lock: Some(lock),
            began,
            load_time,
            deadline: Some(began + MAX_LOAD),
            loaded: false,
        };
        let (end, killed_here) = life.converse(stream, stop).await;
        let loaded = life.loaded;
        let mut child = life.child;
        match end {
            End::Stopped => {
                let _ = child.kill().await;
                return Life::Stopped;
            }
            End::Unloadable(reason) => {
                let _ = child.kill().await;
                return Life::Unloadable(reason);
            }
            End::Closed => {}
        }
        if killed_here || timeout(TO_END, child.wait()).await.is_err() {
            let _ = child.start_kill();
        }
        let kills = kills.zip(Memory::oom_kills());
        match child.wait().await {
            Ok(status) => Life::Ended { exit: Exit::of(status, kills, killed_here), loaded },
            Err(error) => Life::Unloadable(format!("cannot wait for the prover to end: {error}")),
        }
    }
}

/// Starts the process. Returns it with a stream whose other end is the process's standard input.
fn start(command: &ProverCommand) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(&command.program)
        .args(&command.arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        // The worker's standard output must contain only the worker's own output.
        .stdout(Stdio::from(io::stderr()))
        // Signals from a terminal must reach only the worker, which then stops the prover.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

/// A running process.
struct Living<'a> {
    process: &'a Arc<ProverProcess>,
    child: Child,
    /// Held while the prover is loading.
    lock: Option<StartLock>,
    began: Instant,
    load_time: &'a mut Duration,
    /// The time at which the process is killed, if there is one.
    deadline: Option<Instant>,
    loaded: bool,
}

enum End {
    /// The socket is closed. The process ends, or it is killed.
    Closed,
    Stopped,
    Unloadable(String),
}

impl Living<'_> {
    /// Handles messages of the process until it ends or must be killed. The flag is true if it must be killed because
    /// of a cancelled attempt.
    async fn converse(&mut self, stream: UnixStream, stop: &CancellationToken) -> (End, bool) {
        let (mut reader, out, writing) = frames::<ToProver>(stream);
        // Aborted at the end, together with the reader. That closes the socket.
        let writing = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(writing));
        let mut calls = JoinSet::new();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // Contains at most one measurement of live memory at a time.
        let mut looks = JoinSet::new();
        let end = loop {
            let deadline = self.deadline;
            let late = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break (End::Stopped, false),
                () = late => break (End::Closed, self.loaded),
                _ = look.tick() => {
                    self.look();
                    if looks.is_empty()
                        && let Some(look) = self.look_live()
                    {
                        looks.spawn(look);
                    }
                }
                Some(_) = looks.join_next() => {}
                Some(_) = calls.join_next() => {}
                message = reader.next::<FromProver>(), if calls.len() < MAX_CALLS => match message {
                    Ok(Some(FromProver { message: Some(from_prover::Message::LoadFailed(failed)) })) => {
                        break (End::Unloadable(failed.reason), false);
                    }
                    Ok(Some(FromProver { message: Some(from_prover::Message::Call(call)) })) => {
                        let io = self.process.inside().runs.get(&call.run).map(|run| run.io.clone());
                        calls.spawn(answer(call, io, out.clone()));
                    }
                    Ok(Some(FromProver { message })) => self.on_message(message, &out),
                    Ok(None) => break (End::Closed, false),
                    Err(error) => {
                        tracing::warn!(prover = self.process.number, %error, "connection to the prover failed");
                        break (End::Closed, false);
                    }
                },
            }
        };
        self.process.inside().out = None;
        drop(writing);
        end
    }

    fn look(&self) {
        let resident = self.child.id().and_then(resident_bytes).unwrap_or(0);
        let mut inside = self.process.inside();
        inside.peak_bytes = inside.peak_bytes.max(resident);
    }

    /// Measures the live memory, if attempts are running in the process. Resolves when the next measurement may start.
    fn look_live(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let process = self.child.id()?;
        let prover = self.process.clone();
        let changes = {
            let inside = prover.inside();
            (!inside.runs.is_empty()).then_some(inside.changes)?
        };
        Some(async move {
            let began = Instant::now();
            let live = tokio::task::spawn_blocking(move || live_bytes(process)).await;
            let pause = LOOK_LIVE.max(began.elapsed() * LOOK_LIVE_PAUSE);
            if let Ok(Some(bytes)) = live {
                prover.inside().note_live(bytes, changes);
            }
            sleep(pause).await;
        })
    }

    fn on_message(&mut self, message: Option<from_prover::Message>, out: &mpsc::Sender<ToProver>) {
        match message {
            Some(from_prover::Message::Ready(_)) => self.on_ready(out),
            Some(from_prover::Message::Ended(ended)) => self.on_ended(ended),
            Some(from_prover::Message::Busy(wire::Busy { busy: true })) if self.loaded => {
                // Wait for the stage as long as a restart takes. That costs at most twice as much as the better choice.
                let ready_at = Instant::now() + *self.load_time;
                self.deadline = Some(ready_at);
                self.process.state.send_replace(State::Starting { ready_at });
            }
            Some(from_prover::Message::Busy(wire::Busy { busy: false })) if self.loaded => {
                self.deadline = None;
                self.process.state.send_replace(State::Ready);
                self.process.freed.notify_waiters();
            }
            _ => {}
        }
    }

    fn on_ready(&mut self, out: &mpsc::Sender<ToProver>) {
        self.loaded = true;
        self.deadline = None;
        self.lock = None;
        *self.load_time = self.began.elapsed();
        let process = self.child.id();
        let rest_bytes = process.and_then(resident_bytes).unwrap_or(0);
        {
            let mut inside = self.process.inside();
            (inside.out, inside.process, inside.rest_bytes) = (Some(out.clone()), process, rest_bytes);
            (inside.least_live_bytes, inside.left_until) = (rest_bytes, None);
        }
        let gigabytes = (rest_bytes / 10_000_000) as f64 / 100.0;
        tracing::info!(prover = self.process.number, seconds = self.load_time.as_secs_f32(), gigabytes, "prover ready");
        self.process.state.send_replace(State::Ready);
        self.process.freed.notify_waiters();
    }

    fn on_ended(&self, wire::Ended { run, failure }: wire::Ended) {
        let found = self.process.inside().remove(run, DECAY);
        if let Some(found) = found {
            let outcome = failure.map_or(Ok(()), |failure| {
                let kind = protocol::wire::FailureKind::try_from(failure.kind).unwrap_or_default();
                Err(AttemptError { kind: kind.into(), text: failure.text })
            });
            found.end(outcome);
        }
        self.process.freed.notify_waiters();
    }
}

/// Carries out a call of the process, and sends the reply.
async fn answer(call: wire::Call, io: Option<Arc<dyn AttemptIo>>, out: mpsc::Sender<ToProver>) {
    let outcome = match (io, call.what) {
        (Some(io), Some(call::What::Fetch(name))) => io.fetch(&name).await.map(Into::into),
        (Some(io), Some(call::What::Deliver(delivery))) => {
            io.deliver(&delivery.name, delivery.content.into()).await.map(|()| bytes::Bytes::new())
        }
        (Some(io), Some(call::What::CompleteMarker(_))) => io.complete_marker().await.map(|()| bytes::Bytes::new()),
        (None, _) | (_, None) => {
            Err(IoError { action: "fetch", name: "an artifact".to_owned(), reason: "the attempt has ended".to_owned() })
        }
    };
    let outcome = match outcome {
        Ok(content) => reply::Outcome::Content(content),
        Err(IoError { action, name, reason }) => {
            reply::Outcome::Error(wire::IoError { action: action.to_owned(), name, reason })
        }
    };
    let reply = wire::Reply { call: call.call, outcome: Some(outcome) };
    let _ = out.send(ToProver { message: Some(to_prover::Message::Reply(reply)) }).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use std::sync::OnceLock;

    const GB: u64 = 1_000_000_000;

    /// Has no artifacts, and stores the reported memory use.
    #[derive(Default)]
    struct Notes(OnceLock<MemoryUse>);

    #[async_trait]
    impl AttemptIo for Notes {
        async fn fetch(&self, name: &str) -> Result<Vec<u8>, IoError> {
            Err(IoError { action: "fetch", name: name.to_owned(), reason: "no such artifact".to_owned() })
        }

        async fn deliver(&self, _: &str, _: Vec<u8>) -> Result<(), IoError> {
            Ok(())
        }

        async fn complete_marker(&self) -> Result<(), IoError> {
            Ok(())
        }

        fn note_memory(&self, memory: MemoryUse) {
            self.0.set(memory).unwrap();
        }
    }

    /// Runs attempts with `estimates` in a process that uses 1 GB at rest and is then measured at `looks`. The first
    /// attempt must report `expected`: used and estimated memory. All values are in gigabytes.
    #[track_caller]
    fn check(estimates: &[u64], looks: &[u64], expected: Option<(u64, u64)>) {
        let notes = Arc::new(Notes::default());
        let mut inside = Inside { rest_bytes: GB, least_live_bytes: GB, ..Inside::default() };
        for (number, estimate) in (0..).zip(estimates) {
            let run = Run {
                slot: 0,
                io: notes.clone(),
                done: oneshot::channel().0,
                estimated_bytes: estimate * GB,
                memory: None,
            };
            inside.add(number, run);
        }
        looks.iter().for_each(|gigabytes| inside.note_live(gigabytes * GB, inside.changes));
        inside.remove(0, DECAY).unwrap().end(Ok(()));
        let found = notes.0.get().map(|memory| (memory.used_bytes / GB, memory.estimated_bytes / GB));
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
        let notes = Arc::new(Notes::default());
        let run = |estimated_bytes| Run {
            slot: 0,
            io: notes.clone(),
            done: oneshot::channel().0,
            estimated_bytes,
            memory: None,
        };
        let mut inside = Inside::default();
        inside.add(0, run(10));
        inside.note_live(9, 1);
        inside.add(1, run(10));
        inside.note_live(14, 2);
        assert_eq!(inside.runs[&0].memory, Some(MemoryUse { used_bytes: 9, estimated_bytes: 10 }));
        assert_eq!(inside.runs[&1].memory, Some(MemoryUse { used_bytes: 14, estimated_bytes: 20 }));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_a_finished_attempt_is_not_counted_for_others() {
        let notes = Arc::new(Notes::default());
        let run = |estimated_bytes| Run {
            slot: 0,
            io: notes.clone(),
            done: oneshot::channel().0,
            estimated_bytes,
            memory: None,
        };
        let mut inside = Inside::default();
        inside.add(0, run(100));
        inside.add(1, run(10));
        let before = inside.changes;
        inside.remove(0, DECAY).unwrap();
        // One measurement started before the attempt left, and one while its memory may not be freed yet.
        inside.note_live(90, before);
        inside.note_live(90, inside.changes);
        assert_eq!(inside.runs[&1].memory, None);
        tokio::time::advance(DECAY).await;
        inside.note_live(5, inside.changes);
        assert_eq!(inside.runs[&1].memory, Some(MemoryUse { used_bytes: 5, estimated_bytes: 10 }));
        inside.remove(1, STAGE).unwrap();
        inside.add(2, run(10));
        tokio::time::advance(DECAY).await;
        inside.note_live(50, inside.changes);
        assert_eq!(inside.runs[&2].memory, None, "the stage of a cancelled attempt may still use memory");
    }
}
