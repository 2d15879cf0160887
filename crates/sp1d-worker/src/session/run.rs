//! One session with an orchestrator, from the handshake to the end.

use super::{
    end::{FinishedSession, SessionEnd},
    introduction::Introduction,
    silence::SilenceDetector,
    turns::TurnView,
    worker_state::{OrchestratorIdentity, WorkerState},
};
use crate::{
    attempt::{AssignedAttempts, SessionHandle},
    engine::ProverCounts,
    engine_state::EngineState,
    stop::WorkerStop,
    text::line_without_hint,
};
use sp1d_identity::PeerIdentity;
use sp1d_model::{AttemptId, clean_line};
use sp1d_protocol::{
    Assignment, Build, Closer, Connection, HolderId, Invalid, connect_client, kind_to_wire, spread_out,
    wire::{self, FromWorker, ToWorker, from_worker, to_worker},
};
use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

sp1d_model::limits! {
    /// Maximum silence during each step of the handshake. Afterwards the limit of the orchestrator's reply applies.
    const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5); Time by Orchestrator;
    /// Minimum heartbeat interval that an orchestrator may set.
    const MIN_HEARTBEAT_MS: u32 = 50; Milliseconds by Orchestrator;
    /// Maximum heartbeat interval that an orchestrator may set.
    const MAX_HEARTBEAT_MS: u32 = 60_000; Milliseconds by Orchestrator;
    /// Maximum silence that an orchestrator may ask for. An orchestrator that has vanished without closing its
    /// connection keeps the worker from others for no longer than this.
    const MAX_SILENCE: Duration = Duration::from_secs(600); Time by Orchestrator;
    /// Maximum number of characters of the names of an orchestrator and of a proof.
    const MAX_NAME_CHARACTERS: usize = 100; Count by Orchestrator;
}

/// How often the state of the GPUs is reported.
const GPU_INTERVAL: Duration = Duration::from_secs(5);

/// Longest time between two measurements of the memory for attempts. It changes when other workers on the machine start
/// or stop. These measure too, which takes milliseconds of a core, so the times are spread out.
const MEMORY_INTERVAL: Duration = Duration::from_secs(5);

/// The parts of a worker that a session uses.
pub(super) struct SessionContext {
    pub(super) introduction: Arc<Introduction>,
    pub(super) engine: watch::Receiver<EngineState>,
    pub(super) worker: WorkerState,
    /// The turn of the session's orchestrator, and how many others wait.
    pub(super) turn: TurnView,
    /// Who the orchestrator is, according to its certificate; `None` without TLS and for the orchestrator of this
    /// process.
    pub(super) peer: Option<PeerIdentity>,
    pub(super) stop: WorkerStop,
}

/// A session after its handshake.
struct OpenSession {
    handle: SessionHandle,
    orchestrator: OrchestratorIdentity,
    /// Set once the engine is ready.
    attempts: Option<Arc<AssignedAttempts>>,
    /// The memory that was last reported to the orchestrator.
    memory: Option<wire::AttemptMemory>,
}

/// Serves the orchestrator at the other end of `stream` until either side ends the session. Attempts that are still
/// running are kept for the next session if the connection was lost or the orchestrator restarts. Otherwise they are
/// dropped.
pub(super) async fn run<S>(stream: S, context: SessionContext) -> FinishedSession
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, closer) = Connection::new(stream);
    let mut has_started = false;
    let end = match run_on(connection, &closer, context, &mut has_started).await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    closer.close();
    FinishedSession { has_started, end }
}

async fn run_on<S>(
    connection: Connection<S>,
    closer: &Closer,
    mut context: SessionContext,
    has_started: &mut bool,
) -> Result<Infallible, SessionEnd>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stop = context.stop.now.clone();
    let mut client = handshake_step(&stop, connect_client(connection)).await??;
    let memory = context.worker.attempt_memory_for_hello().await;
    let hello = hello(&context.introduction, &context.engine.borrow_and_update().clone(), memory);
    let reply = handshake_step(&stop, client.hello(hello)).await?.map_err(Box::new)?.into_inner();
    if !reply.refusal.is_empty() {
        return Err(SessionEnd::Refused(line_without_hint(&reply.refusal)));
    }
    let orchestrator: Build = reply.build.unwrap_or_default().into();
    orchestrator.check_worker(&context.introduction.build)?;
    let heartbeat = Duration::from_millis(reply.heartbeat_ms.clamp(MIN_HEARTBEAT_MS, MAX_HEARTBEAT_MS).into());
    let silence = silence_limit(reply.silence_ms, heartbeat);
    let name = clean_line(&reply.name, MAX_NAME_CHARACTERS);
    tracing::info!(session = reply.session, release = %orchestrator.release, orchestrator = %name, "session started");
    *has_started = true;
    context.turn.introduce(name, HolderId::of(&reply.orchestrator));

    let (outbox, messages) = mpsc::channel::<FromWorker>(1024);
    let control = client.control(ReceiverStream::new(messages));
    let inbound = handshake_step(&stop, control).await?.map_err(Box::new)?.into_inner();
    let handle = SessionHandle { client, outbox, closer: closer.clone() };
    let orchestrator = OrchestratorIdentity {
        certificate: context.peer.take().map(|peer| peer.name),
        instance: reply.orchestrator,
        lineage: reply.lineage,
    };
    let mut session = OpenSession { handle, orchestrator, attempts: None, memory };
    let end = exchange(inbound, closer, &mut context, &mut session, heartbeat, silence).await;
    if let Some(attempts) = session.attempts {
        // Close the connection first. Otherwise ending the attempts would wait for their requests on this connection.
        closer.close();
        if let Err(SessionEnd::Restart(_)) = &end {
            attempts.detach();
            attempts.outlive_orchestrator();
        }
        match &end {
            Err(end) if end.is_loss() => context.worker.keep(session.orchestrator, attempts),
            _ => context.worker.end_attempts(attempts),
        }
    }
    end
}

/// Returns the silence after which the orchestrator counts as lost. It asks for `silence_ms`, and sends a heartbeat in
/// each interval `heartbeat`.
fn silence_limit(silence_ms: u32, heartbeat: Duration) -> Duration {
    Duration::from_millis(silence_ms.into()).min(MAX_SILENCE).max(2 * heartbeat)
}

/// Runs one step of the handshake, until it takes too long or the worker is stopping.
async fn handshake_step<T>(stop: &CancellationToken, step: impl Future<Output = T>) -> Result<T, SessionEnd> {
    tokio::select! {
        () = stop.cancelled() => Err(SessionEnd::Stopping),
        outcome = timeout(HANDSHAKE_TIMEOUT, step) => outcome.map_err(|_| SessionEnd::Silence(HANDSHAKE_TIMEOUT)),
    }
}

fn hello(introduction: &Introduction, engine: &EngineState, memory: Option<wire::AttemptMemory>) -> wire::HelloRequest {
    let capabilities = &introduction.capabilities;
    let missing = capabilities.missing().iter();
    let ProverCounts { ready, failed } = engine.prover_counts();
    wire::HelloRequest {
        build: Some(introduction.build.clone().into()),
        machine: Some(introduction.machine.clone()),
        name: introduction.name.clone(),
        readiness: Some(wire::Readiness { memory, ..readiness(engine) }),
        kinds: capabilities.kinds().iter().map(|kind| kind_to_wire(kind).into()).collect(),
        missing_capabilities: missing
            .map(|(kind, reason)| wire::MissingCapability { kind: kind_to_wire(*kind).into(), reason: reason.clone() })
            .collect(),
        ready_provers: ready,
        failed_provers: failed,
    }
}

fn readiness(engine: &EngineState) -> wire::Readiness {
    let ready = matches!(engine, EngineState::Ready(_));
    wire::Readiness { ready, seconds_left: engine.seconds_left(), ..wire::Readiness::default() }
}

/// Returns true if the change is large enough to report: more than 5 percent of the larger value.
fn differ(one: Option<wire::AttemptMemory>, other: Option<wire::AttemptMemory>) -> bool {
    let far = |one: u64, other: u64| one.abs_diff(other) > one.max(other) / 20;
    match (one, other) {
        (Some(one), Some(other)) => far(one.each_bytes, other.each_bytes) || far(one.alone_bytes, other.alone_bytes),
        (one, other) => one != other,
    }
}

/// Resolves when the worker leaves, no further attempt can start, and the reports of all started ones are sent.
async fn no_more_starts(stop: WorkerStop, worker: WorkerState) {
    stop.leave.cancelled().await;
    worker.close_gate().await;
}

/// Exchanges messages with the orchestrator until the session ends.
async fn exchange(
    mut inbound: Streaming<ToWorker>,
    closer: &Closer,
    context: &mut SessionContext,
    session: &mut OpenSession,
    heartbeat: Duration,
    silence_limit: Duration,
) -> Result<Infallible, SessionEnd> {
    let mut beat = interval(heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut silence = SilenceDetector::new(closer, silence_limit);
    let stop = context.stop.now.clone();
    let (mut reported_ready, mut engine_is_settled, mut reported_waiting) = (false, false, 0);
    let worker = context.worker.clone();
    let mut leaving = pin!(no_more_starts(context.stop.clone(), worker.clone()));
    let (mut is_leaving, mut reported_leaving) = (false, false);
    let measure = async || {
        sleep(spread_out(MEMORY_INTERVAL)).await;
        worker.attempt_memory().await
    };
    let mut measuring = pin!(measure());
    let gpus = context.introduction.gpus.clone();
    let read_gpus = async || {
        sleep(GPU_INTERVAL).await;
        gpus.read().await
    };
    let mut reading = pin!(read_gpus());
    loop {
        let state = context.engine.borrow_and_update().clone();
        let is_ready = matches!(state, EngineState::Ready(_));
        if let (None, EngineState::Ready(engine)) = (&session.attempts, &state) {
            let kinds = context.introduction.capabilities.kinds();
            let attempts = context.worker.attempts(&session.orchestrator, engine, kinds);
            let holds = attempts.offers().into_iter().map(|attempt| attempt.0).collect();
            let resumable = attempts.resumable().into_iter();
            let resumable = resumable
                .map(|(attempt, key)| wire::Resumable { attempt: attempt.0, key: key.as_bytes().to_vec().into() });
            session.attempts = Some(attempts);
            let readiness = wire::Readiness { holds, resumable: resumable.collect(), ..readiness(&state) };
            silence.send(&session.handle, from_worker::Message::Readiness(readiness), &stop).await?;
            reported_ready = true;
        } else if session.attempts.is_some() && reported_ready != is_ready {
            // A prover was lost and is loading again, or it is ready again.
            silence.send(&session.handle, from_worker::Message::Readiness(readiness(&state)), &stop).await?;
            reported_ready = is_ready;
        }
        // The orchestrator ends the session of a leaving worker without attempts. So offer the kept attempts first.
        if is_leaving && !reported_leaving && (session.attempts.is_some() || !worker.keeps_attempts()) {
            // The reports of kept attempts follow after their uploads. Without this report, the orchestrator would give
            // a started attempt to another worker.
            let started = session.attempts.as_ref().map(|attempts| attempts.started()).unwrap_or_default();
            for attempt in started {
                let started = from_worker::Message::Started(wire::Started { attempt: attempt.0 });
                silence.send(&session.handle, started, &stop).await?;
            }
            silence.send(&session.handle, from_worker::Message::Leaving(wire::Leaving {}), &stop).await?;
            reported_leaving = true;
        }
        let waiting = context.turn.waiting();
        if waiting != reported_waiting {
            let count = u32::try_from(waiting).unwrap_or(u32::MAX);
            let others = from_worker::Message::OthersWaiting(wire::OthersWaiting { count });
            silence.send(&session.handle, others, &stop).await?;
            reported_waiting = waiting;
        }
        tokio::select! {
            () = stop.cancelled() => {
                let goodbye = wire::Goodbye { reason: "the worker is stopping".to_owned(), returns: false };
                let goodbye = FromWorker { message: Some(from_worker::Message::Goodbye(goodbye)) };
                // Do not wait for a full outbox, and leave little time to send the message. If it is not sent, the
                // orchestrator still notices the closed connection.
                let _ = session.handle.outbox.try_send(goodbye);
                sleep(Duration::from_millis(50)).await;
                return Err(SessionEnd::Stopping);
            }
            changed = context.engine.changed(), if !engine_is_settled => match changed {
                Ok(()) => {}
                // The sender of an in-process engine's state is dropped once the engine is ready.
                Err(_) if is_ready => engine_is_settled = true,
                Err(_) => return Err(SessionEnd::Stopping),
            },
            () = &mut leaving, if !is_leaving => is_leaving = true,
            () = context.turn.changed() => {}
            memory = &mut measuring => {
                measuring.set(measure());
                if memory.is_some() && differ(memory, session.memory) {
                    session.memory = memory;
                    let readiness = wire::Readiness { memory, ..readiness(&state) };
                    silence.send(&session.handle, from_worker::Message::Readiness(readiness), &stop).await?;
                }
            }
            readings = &mut reading => {
                reading.set(read_gpus());
                if let Some(readings) = readings {
                    silence.send(&session.handle, from_worker::Message::GpuReadings(readings), &stop).await?;
                }
            }
            _ = beat.tick() => {
                if silence.deadline() < Instant::now() {
                    return Err(SessionEnd::Silence(silence_limit));
                }
                let message = match &session.attempts {
                    Some(_) if is_ready => from_worker::Message::Heartbeat(wire::Heartbeat {}),
                    _ => from_worker::Message::Readiness(readiness(&state)),
                };
                if !silence.send(&session.handle, message, &stop).await? {
                    return Err(SessionEnd::Closed);
                }
            }
            message = inbound.message() => match message.map_err(Box::new)? {
                None => return Err(SessionEnd::Closed),
                Some(message) => on_message(message, session)?,
            },
        }
    }
}

fn on_message(message: ToWorker, session: &OpenSession) -> Result<(), SessionEnd> {
    match message.message {
        Some(to_worker::Message::Assign(assign)) => {
            let assignment = Assignment::try_from(assign)?;
            match &session.attempts {
                Some(attempts) => attempts.start(&session.handle, assignment),
                None => return Err(Invalid::NotReady.into()),
            }
        }
        Some(to_worker::Message::Cancel(cancel)) => {
            if let Some(attempts) = &session.attempts {
                attempts.cancel(AttemptId(cancel.attempt));
            }
        }
        Some(to_worker::Message::Continue(continued)) => {
            if let Some(attempts) = &session.attempts {
                attempts.continue_attempt(&session.handle, AttemptId(continued.attempt));
            }
        }
        Some(to_worker::Message::Received(received)) => {
            if let Some(attempts) = &session.attempts {
                attempts.forget(AttemptId(received.attempt));
            }
        }
        Some(to_worker::Message::ExcludedFromShards(excluded)) => {
            let proof_id = clean_line(&excluded.proof, MAX_NAME_CHARACTERS);
            let cells = excluded.cells;
            tracing::info!(%proof_id, cells, "excluded from the shards of a proof: they are too large for this worker");
        }
        Some(to_worker::Message::Goodbye(goodbye)) => {
            let reason = line_without_hint(&goodbye.reason);
            return Err(if goodbye.returns { SessionEnd::Restart(reason) } else { SessionEnd::Goodbye(reason) });
        }
        // Nothing to do: a heartbeat only shows that the peer is alive, and `None` is a message of a later version.
        Some(to_worker::Message::Heartbeat(_)) | None => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(silence_ms: u32, heartbeat_ms: u64, expected_ms: u128) {
        let limit = silence_limit(silence_ms, Duration::from_millis(heartbeat_ms));
        assert_eq!(limit.as_millis(), expected_ms, "{silence_ms} ms with a heartbeat every {heartbeat_ms} ms");
    }

    #[test]
    fn the_silence_of_an_orchestrator_is_bounded() {
        check(3000, 1000, 3000);
        check(0, 1000, 2000);
        check(u32::MAX, 1000, MAX_SILENCE.as_millis());
        check(u32::MAX, MAX_HEARTBEAT_MS.into(), MAX_SILENCE.as_millis());
    }
}
