//! The first bytes on a connection, before HTTP/2. With them a peer of another version, or another program, gets a
//! readable error.
//!
//! ```text
//!   dialer   ─► "SP1D" version:u16 role:u16
//!   acceptor ◄─ "SP1D" version:u16 verdict:u8 length:u8 [`length` bytes when the verdict is a refusal]
//! ```
//!
//! Numbers are big-endian. This format is the same in every version. The bytes of a refusal are a text. If the worker
//! serves an orchestrator that has introduced itself, its [`HolderId`] comes before the text. If the verdict is a place
//! in the worker's queue, the connection stays open and [`receive_place`](super::queue::receive_place) follows.

use super::holder::{BusyWorker, HolderId};
use crate::PROTOCOL_VERSION;
use sp1d_model::clean_line;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

const MAGIC: [u8; 4] = *b"SP1D";

sp1d_model::limits! {
    /// Maximum time to wait for each read or write of the preamble.
    pub const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(1); Time by EitherSide;
}

/// The side that opens a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An orchestrator that dials a worker of its worker list, and needs it for a proof. It waits for its turn.
    Orchestrator,
    /// A worker that joins an orchestrator.
    Worker,
    /// An orchestrator without running proofs, or a program that only asks the worker about itself. It gets the worker
    /// if the worker is free, and never waits.
    IdleOrchestrator,
}

impl Role {
    const fn code(self) -> u16 {
        match self {
            Self::Orchestrator => 0,
            Self::Worker => 1,
            Self::IdleOrchestrator => 2,
        }
    }
}

/// The acceptor's decision about a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreambleReply {
    /// The connection is accepted.
    Welcome,
    /// The worker serves another orchestrator, and the dialer waits for its turn on this connection.
    Queued,
    /// The worker serves another orchestrator, and the dialer cannot wait.
    Busy(BusyWorker),
    /// The peer's address is not allowed.
    Refused(String),
}

/// How a dialer is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The connection is accepted.
    Welcome,
    /// The worker serves another orchestrator. The dialer waits for its turn on this connection.
    Queued,
}

/// The verdict code for a dialer of the wrong role. It takes precedence over the other verdicts.
const WRONG_ROLE: u8 = 3;

/// The verdict code for an orchestrator that waits in the worker's queue.
const QUEUED: u8 = 4;

/// The verdict code of a busy worker whose orchestrator has introduced itself.
const BUSY_WITH: u8 = 5;

/// Maximum number of bytes after a verdict.
const MAX_REASON_BYTES: usize = 255;

/// Why a connection ended in its preamble.
#[derive(Debug, thiserror::Error)]
pub enum PreambleError {
    /// The connection failed.
    #[error("the connection failed at its first bytes: {0}")]
    Io(#[from] io::Error),
    /// The peer sent nothing in time.
    #[error("no response within {} s", PREAMBLE_TIMEOUT.as_secs())]
    Silent,
    /// The peer does not speak this protocol.
    #[error(
        "the peer is not sp1d: it responded in another protocol\nhint: if it uses TLS, give this side an identity with `--tls`"
    )]
    Magic,
    /// The peer has another protocol version.
    #[error(
        "the peer uses protocol version {peer}, this side uses version {PROTOCOL_VERSION} (install the same sp1d release on both)"
    )]
    Version {
        /// The peer's version.
        peer: u16,
    },
    /// The worker serves another orchestrator, and this side cannot wait in its queue.
    #[error("the worker is busy: {0}")]
    Busy(BusyWorker),
    /// The peer sent nothing in time while this side waited in a queue, or this side was silent there.
    #[error("the peer was silent for {} s while one side waited in the worker's queue", .0.as_secs())]
    SilentInQueue(Duration),
    /// The peer sent something else than a place in its queue, or than the reply to it.
    #[error("the peer sent an invalid message about the worker's queue")]
    Queue,
    /// The peer does not accept this side's address.
    #[error("the peer refuses this address: {0}")]
    Refused(String),
    /// The dialer does not have the role that the acceptor serves.
    #[error("{0}")]
    Role(String),
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> Result<T, PreambleError> {
    timeout(PREAMBLE_TIMEOUT, step).await.map_err(|_| PreambleError::Silent)?.map_err(PreambleError::Io)
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Result<([u8; 2], u16), PreambleError> {
    let mut head = [0; 8];
    in_time(stream.read_exact(&mut head)).await?;
    let [m0, m1, m2, m3, v0, v1, a, b] = head;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(PreambleError::Magic);
    }
    Ok(([a, b], u16::from_be_bytes([v0, v1])))
}

/// Runs the preamble on the side that opened the connection: sends version and role, and reads the verdict.
///
/// # Errors
/// Fails if the peer is another program or version, refuses the connection, or is silent for [`PREAMBLE_TIMEOUT`].
pub async fn dial(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), role: Role) -> Result<Admission, PreambleError> {
    let [v0, v1] = PROTOCOL_VERSION.to_be_bytes();
    let [r0, r1] = role.code().to_be_bytes();
    let [m0, m1, m2, m3] = MAGIC;
    in_time(stream.write_all(&[m0, m1, m2, m3, v0, v1, r0, r1])).await?;
    in_time(stream.flush()).await?;
    let ([verdict, length], peer) = read_head(stream).await?;
    let mut reason = vec![0; usize::from(length)];
    in_time(stream.read_exact(&mut reason)).await?;
    let (holder, text) = match HolderId::split_from(&reason).filter(|_| verdict == BUSY_WITH) {
        Some((holder, text)) => (Some(holder), text),
        None => (None, reason.as_slice()),
    };
    let text = clean_line(&String::from_utf8_lossy(text), MAX_REASON_BYTES);
    if peer != PROTOCOL_VERSION {
        return Err(PreambleError::Version { peer });
    }
    match verdict {
        0 => Ok(Admission::Welcome),
        1 | BUSY_WITH => Err(PreambleError::Busy(BusyWorker { text, holder })),
        WRONG_ROLE => Err(PreambleError::Role(text)),
        QUEUED if role == Role::Orchestrator => Ok(Admission::Queued),
        _ => Err(PreambleError::Refused(text)),
    }
}

/// Reads the first bytes of a dialer, and returns its role, which is one of `served`. The acceptor decides afterwards,
/// and sends its verdict with [`reply`].
///
/// # Errors
/// Fails if the peer is another program, version or role (another version or role still gets a reply), or is silent for
/// [`PREAMBLE_TIMEOUT`].
pub async fn read_dialer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    served: &[Role],
) -> Result<Role, PreambleError> {
    let (dialer, peer) = read_head(stream).await?;
    let dialer = u16::from_be_bytes(dialer);
    let found = served.iter().copied().find(|role| role.code() == dialer);
    if let (Some(role), PROTOCOL_VERSION) = (found, peer) {
        return Ok(role);
    }
    let mistake = if served.contains(&Role::Worker) {
        "an orchestrator listens at this address, not a worker: list the addresses where workers listen"
    } else {
        "a worker listens at this address, not an orchestrator: use the address that the orchestrator opens with --join-listen"
    };
    // A dialer of another version reads only the version.
    send_verdict(stream, WRONG_ROLE, None, mistake).await?;
    Err(if peer == PROTOCOL_VERSION {
        PreambleError::Role("the peer does not have the role that this side serves".to_owned())
    } else {
        PreambleError::Version { peer }
    })
}

/// Sends the acceptor's verdict, after [`read_dialer`].
///
/// # Errors
/// Fails if the connection failed, or if the peer does not read for [`PREAMBLE_TIMEOUT`].
pub async fn reply(stream: &mut (impl AsyncWrite + Unpin), verdict: &PreambleReply) -> Result<(), PreambleError> {
    match verdict {
        PreambleReply::Welcome => send_verdict(stream, 0, None, "").await,
        PreambleReply::Queued => send_verdict(stream, QUEUED, None, "").await,
        PreambleReply::Busy(BusyWorker { text, holder }) => {
            let code = if holder.is_some() { BUSY_WITH } else { 1 };
            send_verdict(stream, code, *holder, text).await
        }
        PreambleReply::Refused(text) => send_verdict(stream, 2, None, text).await,
    }
}

async fn send_verdict(
    stream: &mut (impl AsyncWrite + Unpin),
    code: u8,
    holder: Option<HolderId>,
    text: &str,
) -> Result<(), PreambleError> {
    let mut reason = holder.map(|holder| holder.as_bytes().to_vec()).unwrap_or_default();
    reason.extend_from_slice(&text.as_bytes()[..text.floor_char_boundary(MAX_REASON_BYTES - reason.len())]);
    let mut reply = Vec::with_capacity(8 + reason.len());
    reply.extend(MAGIC);
    reply.extend(PROTOCOL_VERSION.to_be_bytes());
    reply.extend([code, u8::try_from(reason.len()).expect("the text was cut so that 255 bytes are enough")]);
    reply.extend(reason);
    in_time(stream.write_all(&reply)).await?;
    in_time(stream.flush()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    /// Runs the preamble on the side that accepted the connection, for dialers of `role`.
    async fn accept(
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        role: Role,
        verdict: &PreambleReply,
    ) -> Result<(), PreambleError> {
        read_dialer(stream, &[role]).await?;
        reply(stream, verdict).await
    }

    async fn check(verdict: PreambleReply, expected: &str) {
        let (mut near, mut far) = duplex(1024);
        let (dialed, accepted) =
            tokio::join!(dial(&mut near, Role::Orchestrator), accept(&mut far, Role::Orchestrator, &verdict));
        assert!(accepted.is_ok());
        assert_eq!(dialed.err().map(|error| error.to_string()).unwrap_or_default(), expected);
    }

    fn busy(text: &str) -> PreambleReply {
        PreambleReply::Busy(BusyWorker { text: text.to_owned(), holder: None })
    }

    async fn check_queued(role: Role, expected: Option<Admission>) {
        let (mut near, mut far) = duplex(1024);
        let (dialed, accepted) = tokio::join!(dial(&mut near, role), accept(&mut far, role, &PreambleReply::Queued));
        assert!(accepted.is_ok());
        assert_eq!(dialed.ok(), expected);
    }

    #[tokio::test]
    async fn only_an_orchestrator_with_a_proof_waits_in_a_queue() {
        check_queued(Role::Orchestrator, Some(Admission::Queued)).await;
        check_queued(Role::Worker, None).await;
        check_queued(Role::IdleOrchestrator, None).await;
    }

    #[tokio::test]
    async fn the_dialer_receives_the_verdict() {
        check(PreambleReply::Welcome, "").await;
        check(busy("10.0.0.1 since 3 s"), "the worker is busy: 10.0.0.1 since 3 s").await;
        check(PreambleReply::Refused("not listed".into()), "the peer refuses this address: not listed").await;
        check(busy(&"ä".repeat(400)), &format!("the worker is busy: {}", "ä".repeat(127))).await;
    }

    /// Checks what a dialer receives from a busy worker.
    async fn check_busy(sent: BusyWorker, expected: &BusyWorker) {
        let mut reply_bytes = Vec::new();
        reply(&mut reply_bytes, &PreambleReply::Busy(sent)).await.unwrap();
        let (mut near, mut far) = duplex(1024);
        far.write_all(&reply_bytes).await.unwrap();
        let dialed = dial(&mut near, Role::IdleOrchestrator).await;
        assert!(matches!(&dialed, Err(PreambleError::Busy(found)) if found == expected), "{dialed:?}");
    }

    #[tokio::test]
    async fn a_busy_worker_says_which_orchestrator_it_serves() {
        let worker = |text: &str, holder: Option<HolderId>| BusyWorker { text: text.to_owned(), holder };
        let holder = Some(HolderId::of(b"orchestrator"));
        for holder in [None, holder] {
            check_busy(worker("serving sp1d", holder), &worker("serving sp1d", holder)).await;
            check_busy(worker("", holder), &worker("", holder)).await;
        }
        check_busy(worker(&"ä".repeat(400), holder), &worker(&"ä".repeat(119), holder)).await;
    }

    async fn check_dial(reply: &[u8], expected: &str) {
        let (mut near, mut far) = duplex(1024);
        far.write_all(reply).await.unwrap();
        far.shutdown().await.unwrap();
        let text = dial(&mut near, Role::Orchestrator).await.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }

    #[tokio::test]
    async fn other_programs_and_versions_are_detected() {
        check_dial(b"HTTP/1.1 400 Bad Request\r\n", "not sp1d").await;
        check_dial(b"SP1D\x01\x00\x00\x00", "protocol version 256").await;
        check_dial(b"SP1", "failed at its first bytes").await;
        let (mut near, mut far) = duplex(1024);
        near.write_all(b"SP1D\x00\x09\x00\x00").await.unwrap();
        let error = accept(&mut far, Role::Orchestrator, &PreambleReply::Welcome).await.unwrap_err();
        assert!(matches!(error, PreambleError::Version { peer: 9 }));
        let head = near.read_u64().await.unwrap().to_be_bytes();
        assert_eq!((&head[..4], head[4..6] == PROTOCOL_VERSION.to_be_bytes()), (&b"SP1D"[..], true), "our version");
    }

    async fn check_role(dialer: Role, acceptor: Role, expected: &str) {
        let (mut near, mut far) = duplex(1024);
        let verdict = busy("x");
        let (dialed, accepted) = tokio::join!(dial(&mut near, dialer), accept(&mut far, acceptor, &verdict));
        assert!(matches!(accepted, Err(PreambleError::Role(_))));
        let text = dialed.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }

    #[tokio::test]
    async fn a_role_mismatch_is_refused_with_a_hint() {
        check_role(Role::Worker, Role::Orchestrator, "--join-listen").await;
        check_role(Role::Orchestrator, Role::Worker, "list the addresses where workers listen").await;
        check_role(Role::IdleOrchestrator, Role::Worker, "list the addresses where workers listen").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_times_out() {
        let (mut near, _far) = duplex(1024);
        assert!(matches!(dial(&mut near, Role::Worker).await, Err(PreambleError::Silent)));
        let (mut near, _far) = duplex(1024);
        assert!(matches!(accept(&mut near, Role::Worker, &PreambleReply::Welcome).await, Err(PreambleError::Silent)));
    }
}
