//! One session with an orchestrator, from handshake to end.

use crate::{
    attempt::Attempts,
    engine::EngineState,
    home::{Home, Orchestrator},
    introduction::Introduction,
    transfer::Session,
};
use protocol::{
    Assignment, Build, Closer, Connection, Mismatch, connect_client, kind_to_wire,
    wire::{self, FromWorker, ToWorker, from_worker, to_worker},
};
use scheduler::AttemptId;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

/// Until the handshake has told better.
const HANDSHAKE_SILENCE: Duration = Duration::from_secs(5);

/// How often it is looked what attempts can have of the machine's memory: other workers come and go.
const MEMORY_LOOK: Duration = Duration::from_secs(5);

/// True if two say something else to whoever plans with them: they are more than a twentieth apart.
fn differ(one: Option<wire::AttemptMemory>, other: Option<wire::AttemptMemory>) -> bool {
    let far = |one: u64, other: u64| one.abs_diff(other) > one.max(other) / 20;
    match (one, other) {
        (Some(one), Some(other)) => far(one.each_bytes, other.each_bytes) || far(one.alone_bytes, other.alone_bytes),
        (one, other) => one != other,
    }
}

/// Bounds on what an orchestrator may set.
const HEARTBEATS: std::ops::RangeInclusive<u32> = 50..=60_000;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the connection failed: {0}")]
    Connection(#[from] tonic::transport::Error),
    #[error("a call failed: {}", .0.message())]
    Call(#[from] Box<tonic::Status>),
    #[error("the orchestrator refuses this worker: {0}")]
    Refused(String),
    #[error("this worker refuses the orchestrator: {0}")]
    Mismatch(#[from] Mismatch),
    #[error("the orchestrator said goodbye: {0}")]
    Goodbye(String),
    #[error("the orchestrator said goodbye for now: {0}")]
    Restart(String),
    #[error("the orchestrator closed the connection")]
    Closed,
    #[error("nothing was heard from the orchestrator for {} s", .0.as_secs_f32())]
    Silence(Duration),
    #[error("the orchestrator sent nonsense: {0}")]
    Nonsense(#[from] protocol::Invalid),
    #[error("the worker is stopping")]
    Stopping,
}

impl End {
    /// True when the orchestrator may be back in a moment.
    fn is_loss(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Call(_) | Self::Closed | Self::Silence(_) | Self::Restart(_) => true,
            Self::Refused(_) | Self::Mismatch(_) | Self::Goodbye(_) | Self::Nonsense(_) | Self::Stopping => false,
        }
    }
}

/// What a session needs of its worker.
pub(crate) struct Context {
    pub(crate) introduction: Arc<Introduction>,
    pub(crate) engine: watch::Receiver<EngineState>,
    pub(crate) home: Home,
    pub(crate) stop: CancellationToken,
}

/// Serves the orchestrator at the other end of `stream` until either side ends it. Attempts that still run are kept for
/// the next session when the connection was lost, and dropped when somebody wanted the end.
pub(crate) async fn run<S>(stream: S, context: Context) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, closer) = Connection::new(stream);
    let end = match converse(connection, &closer, context).await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    closer.close();
    end
}

enum Never {}

async fn converse<S>(connection: Connection<S>, closer: &Closer, mut context: Context) -> Result<Never, End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connecting = timeout(HANDSHAKE_SILENCE, connect_client(connection));
    let mut client = connecting.await.map_err(|_| End::Silence(HANDSHAKE_SILENCE))??;
    let memory = context.home.attempt_memory().await;
    let hello = hello(&context.introduction, &context.engine.borrow_and_update().clone(), memory);
    let reply = timeout(HANDSHAKE_SILENCE, client.hello(hello)).await.map_err(|_| End::Silence(HANDSHAKE_SILENCE))?;
    let reply = reply.map_err(Box::new)?.into_inner();
    if !reply.refusal.is_empty() {
        return Err(End::Refused(reply.refusal.chars().filter(|letter| !letter.is_control()).take(400).collect()));
    }
    let orchestrator: Build = reply.build.unwrap_or_default().into();
    orchestrator.check_worker(&context.introduction.build)?;
    let heartbeat = Duration::from_millis(reply.heartbeat_ms.clamp(*HEARTBEATS.start(), *HEARTBEATS.end()).into());
    let silence = Duration::from_millis(reply.silence_ms.into()).max(2 * heartbeat);
    tracing::info!(session = reply.session, release = %orchestrator.release, "session began");

    let (outbox, messages) = mpsc::channel::<FromWorker>(1024);
    let control = timeout(HANDSHAKE_SILENCE, client.control(ReceiverStream::new(messages)));
    let control = tokio::select! {
        () = context.stop.cancelled() => return Err(End::Stopping),
        control = control => control.map_err(|_| End::Silence(HANDSHAKE_SILENCE))?,
    };
    let inbound = control.map_err(Box::new)?.into_inner();
    let session = Session { client, outbox, closer: closer.clone() };
    let orchestrator = Orchestrator { instance: reply.orchestrator, lineage: reply.lineage };
    let mut held = Held { session, orchestrator, attempts: None, memory };
    let end = obey(inbound, closer, &mut context, &mut held, heartbeat, silence).await;
    if let Some(attempts) = held.attempts {
        // First: attempts that wait for the connection would be waited for.
        closer.close();
        if let Err(End::Restart(_)) = &end {
            attempts.detach();
            attempts.outlive_orchestrator();
        }
        match &end {
            Err(end) if end.is_loss() => context.home.keep(held.orchestrator, attempts),
            _ => context.home.let_go(attempts),
        }
    }
    end
}

fn hello(introduction: &Introduction, engine: &EngineState, memory: Option<wire::AttemptMemory>) -> wire::HelloRequest {
    let abilities = &introduction.abilities;
    let missing = abilities.missing().iter();
    wire::HelloRequest {
        build: Some(introduction.build.clone().into()),
        machine: Some(introduction.machine.clone()),
        name: introduction.name.clone(),
        readiness: Some(wire::Readiness { memory, ..readiness(engine) }),
        kinds: abilities.kinds().iter().map(|kind| kind_to_wire(kind).into()).collect(),
        inabilities: missing
            .map(|(kind, reason)| wire::Inability { kind: kind_to_wire(*kind).into(), reason: reason.clone() })
            .collect(),
    }
}

fn readiness(engine: &EngineState) -> wire::Readiness {
    let ready = matches!(engine, EngineState::Ready(_));
    wire::Readiness { ready, seconds_left: engine.seconds_left(), ..wire::Readiness::default() }
}

struct Held {
    session: Session,
    orchestrator: Orchestrator,
    /// There once the engine is.
    attempts: Option<Arc<Attempts>>,
    /// What the orchestrator was told last.
    memory: Option<wire::AttemptMemory>,
}

async fn obey(
    mut inbound: Streaming<ToWorker>,
    closer: &Closer,
    context: &mut Context,
    held: &mut Held,
    heartbeat: Duration,
    silence: Duration,
) -> Result<Never, End> {
    let mut beat = interval(heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut heard_bytes, mut heard_at) = (closer.bytes_read(), Instant::now());
    let (mut told_ready, mut engine_is_settled) = (false, false);
    let home = context.home.clone();
    let look = async || {
        sleep(MEMORY_LOOK).await;
        home.attempt_memory().await
    };
    let mut looking = pin!(look());
    loop {
        let state = context.engine.borrow_and_update().clone();
        let is_ready = matches!(state, EngineState::Ready(_));
        if let (None, EngineState::Ready(engine)) = (&held.attempts, &state) {
            let kinds = context.introduction.abilities.kinds();
            let attempts = context.home.attempts(&held.orchestrator, engine, kinds);
            let holds = attempts.offers().into_iter().map(|attempt| attempt.0).collect();
            let begun = attempts.begun().into_iter();
            let begun =
                begun.map(|(attempt, key)| wire::Begun { attempt: attempt.0, key: key.as_bytes().to_vec().into() });
            held.attempts = Some(attempts);
            let readiness = wire::Readiness { holds, begun: begun.collect(), ..readiness(&state) };
            held.session.tell(from_worker::Message::Readiness(readiness)).await;
            told_ready = true;
        } else if held.attempts.is_some() && told_ready != is_ready {
            // A prover that was lost is being loaded again, or is back.
            held.session.tell(from_worker::Message::Readiness(readiness(&state))).await;
            told_ready = is_ready;
        }
        tokio::select! {
            () = context.stop.cancelled() => {
                let goodbye = wire::Goodbye { reason: "the worker is stopping".to_owned(), returns: false };
                held.session.tell(from_worker::Message::Goodbye(goodbye)).await;
                // Time for the word to leave; the peer notices the closed connection anyway.
                sleep(Duration::from_millis(50)).await;
                return Err(End::Stopping);
            }
            changed = context.engine.changed(), if !engine_is_settled => match changed {
                Ok(()) => {}
                // Whoever started an engine in this process has nothing more to say.
                Err(_) if is_ready => engine_is_settled = true,
                Err(_) => return Err(End::Stopping),
            },
            memory = &mut looking => {
                looking.set(look());
                if memory.is_some() && differ(memory, held.memory) {
                    held.memory = memory;
                    let readiness = wire::Readiness { memory, ..readiness(&state) };
                    held.session.tell(from_worker::Message::Readiness(readiness)).await;
                }
            }
            _ = beat.tick() => {
                let now = closer.bytes_read();
                if now != heard_bytes {
                    (heard_bytes, heard_at) = (now, Instant::now());
                } else if heard_at.elapsed() > silence {
                    return Err(End::Silence(silence));
                }
                let message = match &held.attempts {
                    Some(_) if is_ready => from_worker::Message::Heartbeat(wire::Heartbeat {}),
                    _ => from_worker::Message::Readiness(readiness(&state)),
                };
                if !held.session.tell(message).await {
                    return Err(End::Closed);
                }
            }
            message = inbound.message() => match message.map_err(Box::new)? {
                None => return Err(End::Closed),
                Some(message) => on_message(message, held).await?,
            },
        }
    }
}

async fn on_message(message: ToWorker, held: &Held) -> Result<(), End> {
    match message.message {
        Some(to_worker::Message::Assign(assign)) => {
            let assignment = Assignment::try_from(assign)?;
            match &held.attempts {
                Some(attempts) => attempts.begin(&held.session, assignment),
                None => return Err(protocol::Invalid("a task for a worker that is not ready").into()),
            }
        }
        Some(to_worker::Message::Cancel(cancel)) => {
            if let Some(attempts) = &held.attempts {
                attempts.cancel(AttemptId(cancel.attempt));
            }
        }
        Some(to_worker::Message::Adopted(adopted)) => {
            if let Some(attempts) = &held.attempts {
                attempts.adopt(&held.session, AttemptId(adopted.attempt));
            }
        }
        Some(to_worker::Message::Received(received)) => {
            if let Some(attempts) = &held.attempts {
                attempts.forget(AttemptId(received.attempt));
            }
        }
        Some(to_worker::Message::Goodbye(goodbye)) => {
            let reason = goodbye.reason.chars().filter(|letter| !letter.is_control()).take(400).collect();
            return Err(if goodbye.returns { End::Restart(reason) } else { End::Goodbye(reason) });
        }
        // A message of a later version, or a sign of life.
        Some(to_worker::Message::Heartbeat(_)) | None => {}
    }
    Ok(())
}
