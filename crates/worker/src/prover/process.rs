//! One prover process: it is started, watched, and started again.

use super::{exit::Exit, frames::frames};
use crate::{
    StartLock,
    engine::{AttemptError, AttemptIo, IoError, MemoryUse},
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

/// How a prover process is started. Its standard input is the socket to the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProverCommand {
    /// The program: usually the running one.
    pub program: PathBuf,
    /// What makes it a prover.
    pub arguments: Vec<OsString>,
}

/// How a worker deals with its prover processes.
#[derive(Debug, Clone)]
pub struct ProverRules {
    /// Attempts inside a process at a time, at least 1.
    pub slots: usize,
    /// Proving threads of a process.
    pub threads: usize,
    /// Bytes of memory that must be free for a process to be started.
    pub needed_bytes: u64,
    /// How long the first start waits for enough free memory. A later start waits as long as it takes.
    pub wait_memory: Duration,
    /// How long loading takes, by estimate, until it was measured.
    pub load_estimate: Duration,
    /// The file by which the provers of a machine load one after another.
    pub start_lock: PathBuf,
}

/// Loading that takes longer than this hangs.
const MAX_LOAD: Duration = Duration::from_secs(15 * 60);

/// Processes that end one after another before they are loaded; then the worker gives up.
const MAX_LOAD_FAILURES: u32 = 5;

/// The pause before a process is started again that ended while it was loading. It doubles each time.
const LOAD_PAUSE: Duration = Duration::from_secs(1);

/// A later start waits as long as other programs use the memory.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// How often the memory of a process is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// The same for its live memory. Reading that takes one or two milliseconds of a core for each gigabyte, and on busy
/// cores up to ten times as long: a pause is so many times as long. The peak of a shard lasts some seconds.
const LOOK_LIVE: Duration = Duration::from_secs(1);
const LOOK_LIVE_PAUSE: u32 = 10;

/// How long a process may take to end after it has closed its socket.
const TO_END: Duration = Duration::from_secs(5);

/// Calls of a process that are answered at the same time.
const MAX_CALLS: usize = 64;

/// Where a process is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It loads, or waits to; or a stage of a cancelled attempt runs on.
    Starting {
        ready_at: Instant,
    },
    Ready,
    /// It will never be ready, and why.
    Failed(String),
}

/// An attempt inside a process.
struct Run {
    slot: usize,
    io: Arc<dyn AttemptIo>,
    done: oneshot::Sender<Result<(), AttemptError>>,
    /// Memory that it takes, by estimate; 0 for unknown.
    estimated_bytes: u64,
    /// The look with the highest ratio of use to estimates.
    memory: Option<MemoryUse>,
}

impl Run {
    /// Ends it with `outcome`.
    fn end(self, outcome: Result<(), AttemptError>) {
        if let Some(memory) = self.memory {
            self.io.note_memory(memory);
        }
        // Nobody waits for an attempt that was cancelled.
        let _ = self.done.send(outcome);
    }
}

#[derive(Default)]
struct Inside {
    /// There while the prover is loaded.
    out: Option<mpsc::Sender<ToProver>>,
    runs: BTreeMap<u64, Run>,
    last_run: u64,
    /// One attempt at a time: more of them ran out of memory.
    solo: bool,
    process: Option<u32>,
    rest_bytes: u64,
    /// The least live memory that was seen, at most `rest_bytes`.
    least_live_bytes: u64,
    peak_bytes: u64,
    /// Counts attempts that came or went.
    changes: u64,
    /// Until then the process may hold memory of an attempt that has left.
    left_until: Option<Instant>,
}

/// How long freed memory looks live: the allocator keeps it for some seconds before it offers it to the kernel.
const DECAY: Duration = Duration::from_secs(10);

/// The same after an attempt was cancelled: its stage may run to its end.
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

    /// The process had so much live memory when attempts had come and gone `changes` times.
    fn note_live(&mut self, bytes: u64, changes: u64) {
        self.least_live_bytes = self.least_live_bytes.min(bytes);
        // Part of it may be of an attempt whose estimate no longer counts.
        if changes != self.changes || self.left_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let used_bytes = bytes.saturating_sub(self.least_live_bytes);
        let estimated_bytes = self.runs.values().map(|run| run.estimated_bytes).fold(0, u64::saturating_add);
        // Without all estimates, what is beyond them is not known.
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

/// A prover process, as the worker's side has it.
pub(super) struct ProverProcess {
    number: usize,
    slots: usize,
    inside: Mutex<Inside>,
    state: watch::Sender<State>,
    /// Tells those who wait for a place that there may be one.
    freed: Arc<Notify>,
}

/// Why one life of a process ended.
enum Life {
    Stopped,
    /// It cannot be loaded, now or later.
    Unloadable(String),
    Ended {
        exit: Exit,
        loaded: bool,
    },
}

/// Takes an attempt out of a process when the worker drops it.
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

    /// How many attempts are inside; `None` if none may come in now.
    pub(super) fn load(&self) -> Option<usize> {
        let inside = self.inside();
        let places = if inside.solo { 1 } else { self.slots };
        let open = *self.state.borrow() == State::Ready && inside.out.is_some() && inside.runs.len() < places;
        open.then_some(inside.runs.len())
    }

    /// Its number for the system, and its resident bytes when nothing was inside; `None` while it is not loaded.
    pub(super) fn footprint(&self) -> Option<(u32, u64)> {
        let inside = self.inside();
        Some((inside.process?, inside.rest_bytes))
    }

    pub(super) fn give_back(&self) {
        if let Some(out) = &self.inside().out {
            // One whose queue is full has more to do.
            let _ = out.try_send(ToProver { message: Some(to_prover::Message::GiveBack(wire::GiveBack {})) });
        }
    }

    /// Runs an attempt. `Err` with the attempt if the process takes none now.
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
                    let slot = (0..self.slots).find(|slot| !taken(slot)).expect("fewer attempts than slots are inside");
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
        let slot = u32::try_from(slot).expect("slots are few");
        // If the process is gone, its owner ends the attempt.
        let _ = out.send(ToProver { message: Some(to_prover::Message::Run(wire::Run { run, slot, assign })) }).await;
        Ok(outcome.await.unwrap_or_else(|_| {
            Err(AttemptError { kind: FailureKind::Killed, text: "the worker is stopping".to_owned() })
        }))
    }

    /// Takes `run` out, if it is still inside.
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

    /// Starts the process again and again, until `stop`, or until it cannot be loaded.
    pub(super) async fn own(self: Arc<Self>, command: ProverCommand, rules: ProverRules, stop: CancellationToken) {
        let (mut failures, mut load_time, mut first) = (0, rules.load_estimate, true);
        loop {
            let life = self.live(&command, &rules, &mut load_time, first, &stop).await;
            first = false;
            match life {
                Life::Stopped => return,
                Life::Unloadable(reason) => {
                    tracing::error!(prover = self.number, %reason, "the prover is given up");
                    self.state.send_replace(State::Failed(reason));
                    return self.freed.notify_waiters();
                }
                Life::Ended { exit, loaded } => {
                    failures = if loaded { 0 } else { failures + 1 };
                    self.on_end(exit, loaded);
                    if failures >= MAX_LOAD_FAILURES {
                        let text = exit.failure(0).text;
                        let reason = format!("the prover could not be loaded, {failures} times in a row: {text}");
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

    /// Ends what was inside.
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
            // Alone, each of them may fit.
            failure.kind = FailureKind::Killed;
            failure.text.push_str("; several attempts were inside, from now on there is one at a time");
        }
        if exit == Exit::Cancelled {
            tracing::info!(prover = self.number, "the prover is started again to end a cancelled attempt");
        } else {
            tracing::warn!(prover = self.number, attempts, loaded, reason = %failure.text, "the prover ended and is started again");
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
                return Life::Unloadable(format!("cannot start the prover ({}): {error}", command.program.display()));
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

/// Starts the process, which has the other end of the stream as its standard input.
fn start(command: &ProverCommand) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(&command.program)
        .args(&command.arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        // Whoever reads the worker's output expects the worker's own.
        .stdout(Stdio::from(io::stderr()))
        // What a terminal sends to the worker is the worker's to act upon.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

/// A process that runs.
struct Living<'a> {
    process: &'a Arc<ProverProcess>,
    child: Child,
    /// Held while it loads.
    lock: Option<StartLock>,
    began: Instant,
    load_time: &'a mut Duration,
    /// When it is killed, if nothing changes.
    deadline: Option<Instant>,
    loaded: bool,
}

enum End {
    /// The socket was closed: the process ends, or is killed.
    Closed,
    Stopped,
    Unloadable(String),
}

impl Living<'_> {
    /// Hears and answers the process, until it ends or must; true if it must because of a cancelled attempt.
    async fn converse(&mut self, stream: UnixStream, stop: &CancellationToken) -> (End, bool) {
        let (mut reader, out, writing) = frames::<ToProver>(stream);
        // Its end is the end of the reader too.
        let writing = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(writing));
        let mut calls = JoinSet::new();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // One at a time.
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
                        tracing::warn!(prover = self.process.number, %error, "the connection to the prover failed");
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

    /// Looks at the live memory, if attempts are inside. Resolves when it is time for the next look.
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
                // Waiting for as long as a new start would take costs at most twice the better choice.
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

/// Does what a process asks for, and tells it the outcome.
async fn answer(call: wire::Call, io: Option<Arc<dyn AttemptIo>>, out: mpsc::Sender<ToProver>) {
    let outcome = match (io, call.what) {
        (Some(io), Some(call::What::Fetch(name))) => io.fetch(&name).await.map(Into::into),
        (Some(io), Some(call::What::Deliver(delivery))) => {
            io.deliver(&delivery.name, delivery.content.into()).await.map(|()| bytes::Bytes::new())
        }
        (Some(io), Some(call::What::CompleteMarker(_))) => io.complete_marker().await.map(|()| bytes::Bytes::new()),
        (None, _) | (_, None) => {
            Err(IoError { action: "fetch", name: "an artifact".to_owned(), reason: "the attempt is over".to_owned() })
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

    /// Has no artifacts.
    #[derive(Default)]
    struct Notes(OnceLock<MemoryUse>);

    #[async_trait]
    impl AttemptIo for Notes {
        async fn fetch(&self, name: &str) -> Result<Vec<u8>, IoError> {
            Err(IoError { action: "fetch", name: name.to_owned(), reason: "there is none".to_owned() })
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

    /// Attempts with estimates in gigabytes are in a process of 1 GB that is then seen with `looks`. What the first is
    /// told: gigabytes used and estimated.
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
    fn an_attempt_is_told_the_most_that_its_process_took() {
        check(&[10], &[3, 9, 4], Some((8, 10)));
        check(&[10, 10], &[3, 15, 4], Some((14, 20)));
        check(&[10], &[], None);
        check(&[10, 0], &[9], None);
    }

    #[test]
    fn one_attempt_alone_can_take_more_of_its_estimate_than_two() {
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
    async fn memory_of_an_attempt_that_has_left_is_not_of_those_inside() {
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
        // A look that began before, and one while the memory is not given back.
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
        assert_eq!(inside.runs[&2].memory, None, "the stage of a cancelled attempt may run on");
    }
}
