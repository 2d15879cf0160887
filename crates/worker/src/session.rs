//! One session with an orchestrator, from the handshake to the end.

use crate::{
    attempt::Attempts,
    engine::EngineState,
    home::{Home, Orchestrator},
    introduction::Introduction,
    text::one_line,
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
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

/// Maximum silence during each step of the handshake. Afterwards the limit of the orchestrator's reply applies.
const HANDSHAKE_SILENCE: Duration = Duration::from_secs(5);

/// How often the memory for attempts is measured. It changes when other workers on the machine start or stop.
const MEMORY_LOOK: Duration = Duration::from_secs(5);

/// Returns true if the change is large enough to report: more than 5 percent of the larger value.
fn differ(one: Option<wire::AttemptMemory>, other: Option<wire::AttemptMemory>) -> bool {
    let far = |one: u64, other: u64| one.abs_diff(other) > one.max(other) / 20;
    match (one, other) {
        (Some(one), Some(other)) => far(one.each_bytes, other.each_bytes) || far(one.alone_bytes, other.alone_bytes),
        (one, other) => one != other,
    }
}

/// Bounds of the heartbeat interval that an orchestrator may set, in milliseconds.
const HEARTBEATS: std::ops::RangeInclusive<u32> = 50..=60_000;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the connection failed: {0}")]
    Connection(#[from] tonic::transport::Error),
    #[error("a call to the orchestrator failed: {}", .0.message())]
    Call(#[from] Box<tonic::Status>),
    #[error("the orchestrator refused this worker: {0}")]
    Refused(String),
    #[error("this worker refused the orchestrator: {}", one_line(&.0.to_string()))]
    Mismatch(#[from] Mismatch),
    #[error("the orchestrator ended the session: {0}")]
    Goodbye(String),
    #[error("the orchestrator ended the session and will reconnect: {0}")]
    Restart(String),
    #[error("the orchestrator closed the connection")]
    Closed,
    /// The orchestrator sent nothing for this long, or read nothing.
    #[error("the orchestrator did not respond for {} s", .0.as_secs_f32())]
    Silence(Duration),
    #[error("the orchestrator sent an invalid message: {}", .0.0)]
    Nonsense(#[from] protocol::Invalid),
    #[error("the worker is stopping")]
    Stopping,
}

impl End {
    /// Returns true if the orchestrator may reconnect soon.
    fn is_loss(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Call(_) | Self::Closed | Self::Silence(_) | Self::Restart(_) => true,
            Self::Refused(_) | Self::Mismatch(_) | Self::Goodbye(_) | Self::Nonsense(_) | Self::Stopping => false,
        }
    }
}

/// The parts of a worker that a session uses.
pub(crate) struct Context {
    pub(crate) introduction: Arc<Introduction>,
    pub(crate) engine: watch::Receiver<EngineState>,
    pub(crate) home: Home,
    pub(crate) stop: CancellationToken,
}

/// Serves the orchestrator at the other end of `stream` until either side ends the session. Attempts that are still
/// running are kept for the next session if the connection was lost or the orchestrator restarts. Otherwise they are
/// dropped.
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
    let stop = context.stop.clone();
    let mut client = handshake_step(&stop, connect_client(connection)).await??;
    let memory = context.home.attempt_memory().await;
    let hello = hello(&context.introduction, &context.engine.borrow_and_update().clone(), memory);
    let reply = handshake_step(&stop, client.hello(hello)).await?.map_err(Box::new)?.into_inner();
    if !reply.refusal.is_empty() {
        return Err(End::Refused(one_line(&reply.refusal)));
    }
    let orchestrator: Build = reply.build.unwrap_or_default().into();
    orchestrator.check_worker(&context.introduction.build)?;
    let heartbeat = Duration::from_millis(reply.heartbeat_ms.clamp(*HEARTBEATS.start(), *HEARTBEATS.end()).into());
    let silence = Duration::from_millis(reply.silence_ms.into()).max(2 * heartbeat);
    tracing::info!(session = reply.session, release = %orchestrator.release, "session started");

    let (outbox, messages) = mpsc::channel::<FromWorker>(1024);
    let control = client.control(ReceiverStream::new(messages));
    let inbound = handshake_step(&stop, control).await?.map_err(Box::new)?.into_inner();
    let session = Session { client, outbox, closer: closer.clone() };
    let orchestrator = Orchestrator { instance: reply.orchestrator, lineage: reply.lineage };
    let mut held = Held { session, orchestrator, attempts: None, memory };
    let end = obey(inbound, closer, &mut context, &mut held, heartbeat, silence).await;
    if let Some(attempts) = held.attempts {
        // Close the connection first. Otherwise ending the attempts would wait for their requests on this connection.
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

/// Runs one step of the handshake, until it takes too long or the worker is stopping.
async fn handshake_step<T>(stop: &CancellationToken, step: impl Future<Output = T>) -> Result<T, End> {
    tokio::select! {
        () = stop.cancelled() => Err(End::Stopping),
        outcome = timeout(HANDSHAKE_SILENCE, step) => outcome.map_err(|_| End::Silence(HANDSHAKE_SILENCE)),
    }
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
    /// Set once the engine is ready.
    attempts: Option<Arc<Attempts>>,
    /// The memory that was last reported to the orchestrator.
    memory: Option<wire::AttemptMemory>,
}

/// Whether the orchestrator still sends.
struct Hearing<'a> {
    closer: &'a Closer,
    silence: Duration,
    bytes: u64,
    at: Instant,
}

impl<'a> Hearing<'a> {
    fn new(closer: &'a Closer, silence: Duration) -> Self {
        Self { closer, silence, bytes: closer.bytes_read(), at: Instant::now() }
    }

    /// Returns the time after which the orchestrator counts as silent if it sends nothing until then.
    fn deadline(&mut self) -> Instant {
        let bytes = self.closer.bytes_read();
        if bytes != self.bytes {
            (self.bytes, self.at) = (bytes, Instant::now());
        }
        self.at + self.silence
    }
}

/// Sends `message`. Waits while the outbox is full, which means that the orchestrator does not read. Returns false if
/// the session is over.
///
/// The session does nothing else while it waits here. So this function itself checks for silence and for the stop.
///
/// # Errors
/// Fails if the orchestrator sends nothing or reads nothing for the silence limit, or if the worker is stopping.
async fn send(
    session: &Session,
    message: from_worker::Message,
    hearing: &mut Hearing<'_>,
    stop: &CancellationToken,
) -> Result<bool, End> {
    let read_deadline = Instant::now() + hearing.silence;
    let mut sending = pin!(session.tell(message));
    loop {
        let deadline = hearing.deadline().min(read_deadline);
        tokio::select! {
            biased;
            sent = &mut sending => return Ok(sent),
            () = stop.cancelled() => return Err(End::Stopping),
            () = sleep_until(deadline) => {
                // The orchestrator may have sent something since the deadline was computed.
                if hearing.deadline().min(read_deadline) <= Instant::now() {
                    return Err(End::Silence(hearing.silence));
                }
            }
        }
    }
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
    let mut hearing = Hearing::new(closer, silence);
    let stop = context.stop.clone();
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
            send(&held.session, from_worker::Message::Readiness(readiness), &mut hearing, &stop).await?;
            told_ready = true;
        } else if held.attempts.is_some() && told_ready != is_ready {
            // A prover was lost and is loading again, or it is ready again.
            send(&held.session, from_worker::Message::Readiness(readiness(&state)), &mut hearing, &stop).await?;
            told_ready = is_ready;
        }
        tokio::select! {
            () = stop.cancelled() => {
                let goodbye = wire::Goodbye { reason: "the worker is stopping".to_owned(), returns: false };
                let goodbye = FromWorker { message: Some(from_worker::Message::Goodbye(goodbye)) };
                // Do not wait for a full outbox, and leave little time to send the message. If it is not sent, the
                // orchestrator still notices the closed connection.
                let _ = held.session.outbox.try_send(goodbye);
                sleep(Duration::from_millis(50)).await;
                return Err(End::Stopping);
            }
            changed = context.engine.changed(), if !engine_is_settled => match changed {
                Ok(()) => {}
                // The sender of an in-process engine's state is dropped once the engine is ready.
                Err(_) if is_ready => engine_is_settled = true,
                Err(_) => return Err(End::Stopping),
            },
            memory = &mut looking => {
                looking.set(look());
                if memory.is_some() && differ(memory, held.memory) {
                    held.memory = memory;
                    let readiness = wire::Readiness { memory, ..readiness(&state) };
                    send(&held.session, from_worker::Message::Readiness(readiness), &mut hearing, &stop).await?;
                }
            }
            _ = beat.tick() => {
                if hearing.deadline() < Instant::now() {
                    return Err(End::Silence(silence));
                }
                let message = match &held.attempts {
                    Some(_) if is_ready => from_worker::Message::Heartbeat(wire::Heartbeat {}),
                    _ => from_worker::Message::Readiness(readiness(&state)),
                };
                if !send(&held.session, message, &mut hearing, &stop).await? {
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
                None => return Err(protocol::Invalid("task for a worker that is not ready").into()),
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
            let reason = one_line(&goodbye.reason);
            return Err(if goodbye.returns { End::Restart(reason) } else { End::Goodbye(reason) });
        }
        // Nothing to do: a heartbeat only shows that the peer is alive, and `None` is a message of a later version.
        Some(to_worker::Message::Heartbeat(_)) | None => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::wire::session_client::SessionClient;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tonic::transport::Endpoint;

    const SILENCE: Duration = Duration::from_secs(3);

    /// Returns a session with a full outbox. It stays full as long as the receiver exists.
    fn full_session(closer: &Closer) -> (Session, mpsc::Receiver<FromWorker>) {
        let client = SessionClient::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy());
        let (outbox, unread) = mpsc::channel(1);
        outbox.try_send(FromWorker { message: None }).unwrap();
        (Session { client, outbox, closer: closer.clone() }, unread)
    }

    fn heartbeat() -> from_worker::Message {
        from_worker::Message::Heartbeat(wire::Heartbeat {})
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_outbox_ends_the_session_when_the_orchestrator_is_silent() {
        let (_connection, closer) = Connection::new(tokio::io::empty());
        let (session, _unread) = full_session(&closer);
        let began = Instant::now();
        let mut hearing = Hearing::new(&closer, SILENCE);
        sleep(Duration::from_secs(2)).await;
        let sent = send(&session, heartbeat(), &mut hearing, &CancellationToken::new()).await;
        assert!(matches!(sent, Err(End::Silence(_))), "{sent:?}");
        assert_eq!(began.elapsed().as_secs(), SILENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_outbox_ends_the_session_when_the_orchestrator_sends_but_does_not_read() {
        let (ours, mut theirs) = duplex(64);
        let (mut connection, closer) = Connection::new(ours);
        let (session, _unread) = full_session(&closer);
        let mut hearing = Hearing::new(&closer, SILENCE);
        sleep(Duration::from_secs(2)).await;
        let began = Instant::now();
        let chatter = async {
            for _ in 0..10 {
                sleep(Duration::from_millis(700)).await;
                theirs.write_u8(0).await.unwrap();
                connection.read_u8().await.unwrap();
            }
        };
        let stop = CancellationToken::new();
        let sent = tokio::select! {
            sent = send(&session, heartbeat(), &mut hearing, &stop) => sent,
            () = chatter => panic!("the session did not end"),
        };
        assert!(matches!(sent, Err(End::Silence(_))), "{sent:?}");
        assert_eq!(began.elapsed().as_secs(), SILENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_outbox_does_not_delay_the_stop() {
        let (_connection, closer) = Connection::new(tokio::io::empty());
        let (session, _unread) = full_session(&closer);
        let stop = CancellationToken::new();
        stop.cancel();
        let sent = send(&session, heartbeat(), &mut Hearing::new(&closer, SILENCE), &stop).await;
        assert!(matches!(sent, Err(End::Stopping)), "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_sent_once_the_orchestrator_reads() {
        let (_connection, closer) = Connection::new(tokio::io::empty());
        let (session, mut unread) = full_session(&closer);
        let stop = CancellationToken::new();
        let mut hearing = Hearing::new(&closer, SILENCE);
        let reading = async {
            sleep(Duration::from_secs(1)).await;
            unread.recv().await
        };
        let (sent, _) = tokio::join!(send(&session, heartbeat(), &mut hearing, &stop), reading);
        assert!(matches!(sent, Ok(true)), "{sent:?}");
        assert!(unread.recv().await.is_some_and(|sent| sent.message.is_some()));
    }
}
