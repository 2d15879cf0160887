//! One session with a worker. The orchestrator is the server of the connection.

use crate::{
    absent::is_same,
    controller::{AttemptMemory, ProofFailure},
    core::{Input, Joined},
    list::Member,
    orchestrator::{MOST_SHARDS, Settings},
    progress::Progress,
    shared::{Attempt, Farewell, Shared, Worker, attempt_scope},
    text::one_line,
};
use artifacts::{Assembler, Blob, Digest, StoreError, Stored};
use futures::{Stream, StreamExt, stream};
use protocol::{
    Build, Closer, Connection, FailureKind, Limits, chunk_from_wire, chunk_to_wire, made_prefix, serve_connection,
    wire::{
        self, ArtifactPart, DeliverPart, DeliverReply, FetchRequest, FromWorker, HelloReply, HelloRequest, Machine,
        ToWorker, artifact_part, deliver_part, from_worker, session_server::Session, to_worker,
    },
};
use scheduler::{AttemptId, Event, Failure, KindSet, TaskKind, WorkerId};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};

/// Maximum number of messages that wait for the worker to read them. A worker with more waiting messages counts as
/// lost.
const OUTBOX: usize = 1024;

/// Number of checks per heartbeat for received bytes. A lease ends too late by at most the time between two checks.
const LOOKS_PER_BEAT: u32 = 4;

/// What a worker reported about itself in an accepted handshake.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) name: String,
    kinds: KindSet,
    missing: BTreeMap<TaskKind, String>,
    threads: u32,
    /// Maximum number of attempts that it may hold.
    slots: u32,
    memory_bytes: u64,
    memory: Option<AttemptMemory>,
    cpu: String,
}

/// Serves the worker at the other end of `stream` until the session ends or `stop` is cancelled. Returns why the
/// session ended. `welcome` receives the outcome of the handshake.
pub(crate) async fn serve<S>(
    stream: S,
    address: Member,
    shared: Arc<Shared>,
    welcome: oneshot::Sender<Result<String, String>>,
    stop: &CancellationToken,
) -> String
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, closer) = Connection::new(stream);
    let id = WorkerId(shared.next_worker.fetch_add(1, Ordering::Relaxed));
    let service = Service(Arc::new(Host {
        id,
        address,
        closer: closer.clone(),
        introduction: OnceLock::new(),
        welcome: Mutex::new(Some(welcome)),
        controlled: AtomicBool::new(false),
        joined: AtomicBool::new(false),
        farewell: Arc::default(),
        tasks: TaskTracker::new(),
        shared: shared.clone(),
    }));
    let host = service.0.clone();
    let served = tokio::select! {
        served = serve_connection(connection, &closer, service) => served,
        () = stop.cancelled() => {
            host.farewell.say("the orchestrator is stopping".to_owned());
            host.say_goodbye().await;
            Ok(())
        }
    };
    closer.close();
    // The task of the server holds the connection, and ends when it next uses the connection.
    let _ = timeout(Duration::from_secs(1), closer.ended()).await;
    host.tasks.close();
    host.tasks.wait().await;
    let reason = match (host.farewell.take(), served) {
        (Some(reason), _) => reason,
        (None, Err(error)) => format!("the connection failed: {error}"),
        (None, Ok(())) => "the connection was closed".to_owned(),
    };
    host.leave(&reason, stop.is_cancelled()).await;
    reason
}

/// The orchestrator's state of one session.
struct Host {
    id: WorkerId,
    address: Member,
    closer: Closer,
    introduction: OnceLock<Introduction>,
    welcome: Mutex<Option<oneshot::Sender<Result<String, String>>>>,
    controlled: AtomicBool,
    /// The scheduler knows the worker, because its prover was loaded at least once in this session.
    joined: AtomicBool,
    farewell: Arc<Farewell>,
    tasks: TaskTracker,
    shared: Arc<Shared>,
}

impl Host {
    fn answer(&self, outcome: Result<String, String>) {
        if let Some(welcome) = self.welcome.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = welcome.send(outcome);
        }
    }

    /// Tells the worker that the orchestrator is stopping, and whether another one will continue its attempts.
    async fn say_goodbye(&self) {
        /// Time for the goodbye to be sent, after cancellations that are also waiting to be sent.
        const TO_LEAVE: Duration = Duration::from_millis(100);
        let Some(entry) = self.shared.worker(self.id) else { return };
        let settings = &self.shared.settings;
        let returns = settings.lineage.is_some() && self.shared.ends.load(Ordering::Relaxed);
        let goodbye = wire::Goodbye { reason: "the orchestrator is stopping".to_owned(), returns };
        let goodbye = ToWorker { message: Some(to_worker::Message::Goodbye(goodbye)) };
        if entry.outbox.try_send(Ok(goodbye)).is_ok() {
            // The worker closes the connection when it receives the goodbye.
            let _ = timeout(TO_LEAVE, self.closer.ended()).await;
        }
    }

    /// Sends `event` to the dispatcher. Returns false if the dispatcher has ended, which ends every session.
    async fn event(&self, event: Event) -> bool {
        self.shared.inbox.send(Input::Event(event)).await.is_ok()
    }

    /// Removes the worker from the registry. `ended` is true if the orchestrator itself ended the session.
    async fn leave(&self, reason: &str, ended: bool) {
        let Some(worker) = self.shared.workers().remove(&self.id) else { return };
        if !ended && !worker.let_go.load(Ordering::Relaxed) {
            let mut absences = self.shared.absences();
            // A worker that joins may be connected again before the end of its old session is noticed.
            let is_back = self
                .shared
                .workers()
                .values()
                .any(|other| is_same(&other.address, &other.name, &worker.address, &worker.name));
            if !is_back {
                absences.left(&worker.address, &worker.name, reason, SystemTime::now());
            }
        }
        *self.shared.last_departure() = format!("{} ({}), {reason}", worker.name, worker.address);
        let lost = Progress::WorkerLost { worker: worker.name.clone(), reason: reason.to_owned() };
        self.shared.proofs().values().for_each(|proof| proof.report(lost.clone()));
        self.event(Event::WorkerLost { worker: self.id }).await;
    }

    async fn obey(self: Arc<Self>, mut inbound: Streaming<FromWorker>, introduction: Introduction) {
        loop {
            match inbound.message().await {
                Ok(Some(message)) => {
                    if let Some(message) = message.message {
                        self.on_message(message, &introduction).await;
                    }
                }
                Ok(None) => break self.farewell.say("the worker ended the session".to_owned()),
                Err(status) => break self.farewell.say(format!("the connection was lost ({})", status.message())),
            }
        }
        self.closer.close();
    }

    async fn on_message(&self, message: from_worker::Message, introduction: &Introduction) {
        let worker = self.id;
        match message {
            from_worker::Message::Heartbeat(_) => {}
            from_worker::Message::Readiness(readiness) => {
                let Some(entry) = self.shared.worker(worker) else { return };
                if let Some(memory) = attempt_memory(readiness.memory) {
                    *entry.memory() = Some(memory);
                }
                let was_ready = entry.ready.swap(readiness.ready, Ordering::Relaxed);
                if !readiness.ready {
                    tracing::debug!(worker = %introduction.name, seconds_left = readiness.seconds_left, "worker is starting");
                    if was_ready {
                        tracing::warn!(worker = %introduction.name, "prover of a worker ended and restarts");
                        self.event(Event::WorkerUnready { worker }).await;
                    }
                } else if !was_ready {
                    tracing::info!(worker = %introduction.name, address = %self.address, "worker is ready");
                    let ready = Progress::WorkerReady(introduction.name.clone());
                    self.shared.proofs().values().for_each(|proof| proof.report(ready.clone()));
                    if self.joined.swap(true, Ordering::Relaxed) {
                        self.event(Event::WorkerReady { worker }).await;
                        return;
                    }
                    let slots = introduction.slots;
                    let holds = readiness.holds.into_iter().take(Limits::HELD_ATTEMPTS).map(AttemptId).collect();
                    let begun = begun_before(&self.shared.settings, readiness.begun);
                    let (peer, kinds) = (self.shared.peer(&introduction.name, &self.address), introduction.kinds);
                    // An attempt that needs all the memory runs alone. Unknown memory counts as sufficient.
                    let of_machine = Some(introduction.memory_bytes).filter(|bytes| *bytes > 0).unwrap_or(u64::MAX);
                    let memory_bytes = entry.memory().map_or(of_machine, |memory| memory.alone_bytes.min(of_machine));
                    let joined = Joined { worker, peer, memory_bytes, slots, kinds, holds, begun };
                    // If the dispatcher has ended, every session ends.
                    let _ = self.shared.inbox.send(Input::Joined(joined)).await;
                }
            }
            from_worker::Message::Started(started) => {
                self.event(Event::AttemptStarted { worker, attempt: AttemptId(started.attempt) }).await;
            }
            from_worker::Message::MarkerComplete(complete) => {
                self.event(Event::MarkerReported { worker, attempt: AttemptId(complete.attempt) }).await;
            }
            from_worker::Message::Done(done) => {
                tracing::debug!(worker = %introduction.name, attempt = done.attempt, proving_ms = done.proving_ms, "attempt done");
                if self.event(Event::AttemptReported { worker, attempt: AttemptId(done.attempt) }).await {
                    self.confirm(done.attempt);
                }
            }
            from_worker::Message::Failed(failed) => {
                let kind = FailureKind::from(failed.kind());
                let mut text: String = one_line(&failed.text).chars().take(Limits::FAILURE_BYTES).collect();
                text = text.replace(|letter: char| letter.is_control(), " ");
                tracing::warn!(worker = %introduction.name, attempt = failed.attempt, %kind, %text, "attempt failed");
                let failure = match kind {
                    FailureKind::OutOfMemory => Failure::OutOfMemory(text),
                    _ => Failure::Worker(format!("{kind}: {text}")),
                };
                self.event(Event::AttemptFailed { worker, attempt: AttemptId(failed.attempt), failure }).await;
                self.confirm(failed.attempt);
            }
            from_worker::Message::Goodbye(goodbye) => {
                let reason: String = goodbye.reason.chars().filter(|letter| !letter.is_control()).take(400).collect();
                if let (Member::Joined(_), Some(worker)) = (&self.address, self.shared.worker(worker)) {
                    // A worker that joined by itself is not expected back when it says goodbye.
                    worker.let_go.store(true, Ordering::Relaxed);
                }
                self.farewell.say(reason);
                self.closer.close();
            }
        }
    }

    /// Tells the worker that its report on the end of `attempt` has arrived, so that it can forget the report. If this
    /// message is lost, the worker repeats the report in its next session.
    fn confirm(&self, attempt: u64) {
        if let Some(entry) = self.shared.worker(self.id) {
            let received = to_worker::Message::Received(wire::Received { attempt });
            let _ = entry.outbox.try_send(Ok(ToWorker { message: Some(received) }));
        }
    }

    /// Sends heartbeats, and renews the worker's leases while bytes arrive. Ends the session after too much silence.
    async fn keep_alive(self: Arc<Self>, outbox: mpsc::Sender<Result<ToWorker, Status>>) {
        let mut looks = interval(self.shared.settings.heartbeat / LOOKS_PER_BEAT);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut heard, mut silent) = (self.closer.bytes_read(), 0);
        let silence = self.shared.settings.silence();
        for look in 0_u64.. {
            tokio::select! {
                () = self.closer.ended() => return,
                _ = looks.tick() => {}
            }
            let now = self.closer.bytes_read();
            if now != heard {
                (heard, silent) = (now, 0);
                self.event(Event::LeasesRenewed { worker: self.id }).await;
            } else {
                // Silence is measured by the number of checks, because no checks happen while this process is frozen.
                silent += 1;
                if looks.period() * silent > silence {
                    return self.shared.end_session(self.id);
                }
            }
            if look % u64::from(LOOKS_PER_BEAT) != 0 {
                continue;
            }
            let beat = ToWorker { message: Some(to_worker::Message::Heartbeat(wire::Heartbeat {})) };
            // If the outbox is full, its messages serve as heartbeats.
            let _ = outbox.try_send(Ok(beat));
        }
    }

    fn attempt(&self, attempt: u64) -> Result<Arc<Attempt>, Status> {
        let unknown = || Status::not_found("this worker does not hold the attempt");
        self.shared.attempt_of(self.id, AttemptId(attempt)).ok_or_else(unknown)
    }
}

/// Returns the memory that a worker reports; `None` if it reports none, or if it contradicts itself.
pub(crate) fn attempt_memory(memory: Option<wire::AttemptMemory>) -> Option<AttemptMemory> {
    let wire::AttemptMemory { each_bytes, alone_bytes } = memory?;
    (each_bytes <= alone_bytes).then_some(AttemptMemory { each_bytes, alone_bytes })
}

/// Returns the status for a request that is not valid.
fn invalid(text: impl std::fmt::Display) -> Status {
    Status::invalid_argument(text.to_string())
}

#[derive(Clone)]
struct Service(Arc<Host>);

#[tonic::async_trait]
impl Session for Service {
    type ControlStream = ReceiverStream<Result<ToWorker, Status>>;
    type FetchStream = Pin<Box<dyn Stream<Item = Result<ArtifactPart, Status>> + Send>>;

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let host = &self.0;
        let request = request.into_inner();
        let (kinds, missing) = (request.kind_set(), request.inability_texts());
        let worker: Build = request.build.unwrap_or_default().into();
        let settings = &host.shared.settings;
        let mut reply = HelloReply {
            build: Some(settings.build.clone().into()),
            refusal: String::new(),
            session: host.id.0,
            heartbeat_ms: u32::try_from(settings.heartbeat.as_millis()).unwrap_or(u32::MAX),
            silence_ms: u32::try_from(settings.silence().as_millis()).unwrap_or(u32::MAX),
            orchestrator: host.shared.instance.to_vec().into(),
            lineage: settings.lineage.map_or_else(Default::default, |lineage| lineage.to_vec().into()),
        };
        if let Err(mismatch) = settings.build.check_worker(&worker) {
            reply.refusal = one_line(&mismatch.to_string());
            host.farewell.say(reply.refusal.clone());
            host.answer(Err(reply.refusal.clone()));
            return Ok(Response::new(reply));
        }
        let short = |text: String| text.chars().filter(|letter| !letter.is_control()).take(64).collect::<String>();
        let name = short(request.name);
        let name = if name.is_empty() { host.address.to_string() } else { name };
        let machine = request.machine.unwrap_or_default();
        tracing::debug!(worker = %name, threads = machine.threads, memory_bytes = machine.memory_bytes, cpu = ?machine.cpu, "hello");
        let Machine { threads, memory_bytes, cpu, provers } = machine;
        let memory = request.readiness.and_then(|readiness| attempt_memory(readiness.memory));
        let slots = settings.shard_batch_size.saturating_mul(provers.max(1)).clamp(1, MOST_SHARDS);
        let cpu = short(cpu);
        let introduction = Introduction { name, kinds, missing, threads, slots, memory_bytes, memory, cpu };
        if host.introduction.set(introduction).is_err() {
            return Err(invalid("the session already has a hello"));
        }
        Ok(Response::new(reply))
    }

    async fn control(&self, request: Request<Streaming<FromWorker>>) -> Result<Response<Self::ControlStream>, Status> {
        let host = &self.0;
        let introduction = host.introduction.get().ok_or_else(|| invalid("the hello must come first"))?.clone();
        if host.controlled.swap(true, Ordering::Relaxed) {
            return Err(invalid("the session already has a control stream"));
        }
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let worker = Worker {
            name: introduction.name.clone(),
            address: host.address.clone(),
            kinds: introduction.kinds,
            missing: introduction.missing.clone(),
            outbox: outbox.clone(),
            closer: host.closer.clone(),
            farewell: host.farewell.clone(),
            ready: AtomicBool::new(false),
            threads: introduction.threads,
            slots: introduction.slots,
            memory_bytes: introduction.memory_bytes,
            memory: Mutex::new(introduction.memory),
            cpu: introduction.cpu.clone(),
            done: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            drained: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
            quarantine: Mutex::default(),
        };
        host.shared.counters.on_session();
        host.shared.workers().insert(host.id, Arc::new(worker));
        host.shared.absences().remove(&host.address, &introduction.name);
        // The worker is registered first, because the caller may ask at once which tasks it supports.
        host.answer(Ok(introduction.name.clone()));
        host.tasks.spawn(host.clone().keep_alive(outbox));
        let inbound = request.into_inner();
        let (obeying, ended) = (host.clone().obey(inbound, introduction), host.closer.clone());
        host.tasks.spawn(async move {
            tokio::select! {
                () = obeying => {}
                () = ended.ended() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let FetchRequest { attempt, name } = request.into_inner();
        let attempt = self.0.attempt(attempt)?;
        let scope = crate::shared::proof_scope(attempt.proof.id);
        let stored =
            self.0.shared.store.get(scope, &name).ok_or_else(|| Status::not_found("the artifact does not exist"))?;
        let blob = match stored {
            Stored::Memory(blob) => blob,
            Stored::Disk(spilled) => {
                let loaded = tokio::task::spawn_blocking(move || spilled.load()).await.expect("loading does not panic");
                loaded.map_err(|error| {
                    attempt.proof.fail(ProofFailure::Host(error.to_string()));
                    Status::not_found(one_line(&error.to_string()))
                })?
            }
        };
        let shared = self.0.shared.clone();
        let count = move |part: &Result<ArtifactPart, Status>| {
            if let Ok(ArtifactPart { part: Some(artifact_part::Part::Chunk(chunk)) }) = part {
                shared.counters.on_sent(chunk.content.len() as u64);
            }
        };
        Ok(Response::new(Box::pin(parts(blob).inspect(count))))
    }

    async fn deliver(&self, request: Request<Streaming<DeliverPart>>) -> Result<Response<DeliverReply>, Status> {
        let mut delivery = request.into_inner();
        let first = delivery.message().await?.and_then(|part| part.part);
        let Some(deliver_part::Part::Header(header)) = first else {
            return Err(invalid("a delivery must start with a header"));
        };
        let attempt = AttemptId(header.attempt);
        let entry = self.0.attempt(header.attempt)?;
        check_delivery(&entry, attempt, &header)?;
        let store = &self.0.shared.store;
        let delivered = store.scope_stats(attempt_scope(attempt));
        if delivered.artifacts >= Limits::DELIVERIES || delivered.bytes > Limits::DELIVERED_BYTES {
            let (artifacts, bytes) = (Limits::DELIVERIES, Limits::DELIVERED_BYTES);
            let text = format!("the attempt delivered more than {artifacts} artifacts or {bytes} bytes");
            return Err(Status::resource_exhausted(text));
        }
        let blob = receive(delivery, header.length).await?;
        self.0.shared.counters.on_received(blob.stored_bytes());
        let (shared, name) = (self.0.shared.clone(), header.name);
        let put = move || {
            let kept = shared.store.put(attempt_scope(attempt), name, blob);
            // The attempt may have been discarded meanwhile. This code runs in the closure, because the future around
            // it is dropped when the connection ends.
            if !shared.attempts().contains_key(&attempt) {
                shared.store.remove_scope(attempt_scope(attempt));
            }
            kept
        };
        match tokio::task::spawn_blocking(put).await.expect("storing an artifact does not panic") {
            Ok(()) => {}
            Err(error @ StoreError::Full { .. }) => {
                // The store is full for every worker, so a retry on another worker would fail as well.
                entry.proof.fail(ProofFailure::Host(error.to_string()));
                return Err(Status::resource_exhausted(one_line(&error.to_string())));
            }
            Err(error) => return Err(invalid(one_line(&error.to_string()))),
        }
        Ok(Response::new(DeliverReply {}))
    }
}

fn parts(blob: Blob) -> impl Stream<Item = Result<ArtifactPart, Status>> + Send {
    let header = wire::ArtifactHeader { digest: blob.digest().as_bytes().to_vec().into(), length: blob.len() };
    let count = blob.chunks().len();
    let chunks = (0..count).map(move |at| artifact_part::Part::Chunk(chunk_to_wire(blob.chunks()[at].clone())));
    stream::once(async { artifact_part::Part::Header(header) })
        .chain(stream::iter(chunks))
        .map(|part| Ok(ArtifactPart { part: Some(part) }))
}

/// Returns the attempts that a worker can resume, without those that no earlier run can have assigned.
fn begun_before(settings: &Settings, begun: Vec<wire::Begun>) -> Vec<(Digest, AttemptId)> {
    let last = if settings.lineage.is_some() { settings.attempts_before } else { 0 };
    let given = |begun: &wire::Begun| (1..=last).contains(&begun.attempt);
    let begun = begun.into_iter().take(Limits::HELD_ATTEMPTS).filter(given);
    begun.filter_map(|begun| Some((Digest::from_slice(&begun.key)?, AttemptId(begun.attempt)))).collect()
}

/// Checks that an attempt delivers either an output that it was asked for, or an artifact that it made itself. Any
/// other name belongs to another task. Also checks the length.
fn check_delivery(entry: &Attempt, attempt: AttemptId, header: &wire::DeliverHeader) -> Result<(), Status> {
    let asked = entry.outputs.iter().position(|name| *name == header.name);
    let is_made = || {
        [Some(attempt), entry.resumes].into_iter().flatten().any(|maker| header.name.starts_with(&made_prefix(maker)))
    };
    if header.name.len() > Limits::NAME_BYTES || asked.is_none() && !is_made() {
        return Err(invalid("the artifact does not belong to this attempt"));
    }
    let longest = if asked == Some(0) { Limits::RESULT_BYTES } else { Limits::ARTIFACT_BYTES };
    if header.length > longest {
        return Err(invalid(format!("the artifact has {} bytes, and at most {longest} are allowed", header.length)));
    }
    Ok(())
}

/// Receives the chunks of a delivery. Each chunk is checked on a thread that may block, and no thread waits for the
/// next chunk.
async fn receive(mut delivery: Streaming<DeliverPart>, length: u64) -> Result<Blob, Status> {
    let mut assembler = Assembler::new(length);
    let mut digest = None;
    while let Some(part) = delivery.message().await? {
        match part.part {
            Some(deliver_part::Part::Chunk(chunk)) if digest.is_none() => {
                let checked = tokio::task::spawn_blocking(move || {
                    assembler.push(chunk_from_wire(&chunk))?;
                    Ok::<_, artifacts::Error>(assembler)
                });
                assembler = checked.await.expect("assembling does not panic").map_err(invalid)?;
            }
            Some(deliver_part::Part::End(end)) if digest.is_none() => digest = Digest::from_slice(&end.digest),
            _ => return Err(invalid("the parts of the artifact arrived in the wrong order")),
        }
    }
    let digest = digest.ok_or_else(|| invalid("the delivery ended early"))?;
    assembler.finish(digest).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_begun(lineage: Option<[u8; 16]>, attempt: u64, key: &[u8], taken: bool) {
        let settings = Settings { lineage, attempts_before: 10, ..Settings::new(wire::Build::default().into()) };
        let begun = wire::Begun { attempt, key: key.to_vec().into() };
        assert_eq!(begun_before(&settings, vec![begun]).len(), usize::from(taken), "{lineage:?} {attempt} {key:?}");
    }

    #[test]
    fn only_attempts_of_an_earlier_run_can_be_resumed() {
        let lineage = Some([1; 16]);
        for (attempt, taken) in [(0, false), (1, true), (10, true), (11, false), (u64::MAX, false)] {
            check_begun(lineage, attempt, &[7; 32], taken);
        }
        check_begun(lineage, 5, &[7; 31], false);
        check_begun(None, 5, &[7; 32], false);
    }
}
