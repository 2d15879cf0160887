//! The first bytes on a connection, before HTTP/2: they let a peer of another version, or of another program, end with a sentence.
//!
//! ```text
//!   dialler  ─► "SP1D" version:u16 0:u16
//!   acceptor ◄─ "SP1D" version:u16 verdict:u8 length:u8 [text of `length` bytes when the verdict is a refusal]
//! ```
//!
//! Numbers are big-endian. The form never changes, whatever the version.

use crate::PROTOCOL_VERSION;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

const MAGIC: [u8; 4] = *b"SP1D";

/// Longest wait for the other side's first bytes.
pub const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(1);

/// What an acceptor answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Welcome,
    /// Another orchestrator has it; the text says which one and since when.
    Busy(String),
    /// The peer's address is not among those allowed.
    Refused(String),
}

/// Why a connection ended at its first bytes.
#[derive(Debug, thiserror::Error)]
pub enum PreambleError {
    /// The connection failed.
    #[error("the connection ended at its first bytes: {0}")]
    Io(#[from] io::Error),
    /// Nothing came in time.
    #[error("no answer within {} s", PREAMBLE_TIMEOUT.as_secs())]
    Silent,
    /// The peer speaks something else.
    #[error("the peer is no sp1d (it answered with other bytes)")]
    Magic,
    /// The peer speaks another version.
    #[error(
        "the peer speaks protocol version {peer}, this side version {PROTOCOL_VERSION}; install the same release of sp1d on both"
    )]
    Version {
        /// The peer's version.
        peer: u16,
    },
    /// Another orchestrator has the worker.
    #[error("the worker is busy: {0}")]
    Busy(String),
    /// The worker does not want this orchestrator.
    #[error("the worker refuses this address: {0}")]
    Refused(String),
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

/// The side that opened the connection: says its version and hears the verdict.
///
/// # Errors
/// When the peer is another program or version, refuses, or is silent for [`PREAMBLE_TIMEOUT`].
pub async fn dial(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), PreambleError> {
    let [v0, v1] = PROTOCOL_VERSION.to_be_bytes();
    let [m0, m1, m2, m3] = MAGIC;
    in_time(stream.write_all(&[m0, m1, m2, m3, v0, v1, 0, 0])).await?;
    let ([verdict, length], peer) = read_head(stream).await?;
    let mut text = vec![0; usize::from(length)];
    in_time(stream.read_exact(&mut text)).await?;
    let text: String = String::from_utf8_lossy(&text).chars().filter(|letter| !letter.is_control()).collect();
    if peer != PROTOCOL_VERSION {
        return Err(PreambleError::Version { peer });
    }
    match verdict {
        0 => Ok(()),
        1 => Err(PreambleError::Busy(text)),
        _ => Err(PreambleError::Refused(text)),
    }
}

/// The side that accepted the connection: hears the version and gives its verdict.
///
/// # Errors
/// When the peer is another program or version (it is told so), or is silent for [`PREAMBLE_TIMEOUT`].
pub async fn accept(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    verdict: &Verdict,
) -> Result<(), PreambleError> {
    let (_, peer) = read_head(stream).await?;
    let (code, text) = match verdict {
        Verdict::Welcome => (0, ""),
        Verdict::Busy(text) => (1, text.as_str()),
        Verdict::Refused(text) => (2, text.as_str()),
    };
    let text = &text.as_bytes()[..text.floor_char_boundary(255)];
    let mut answer = Vec::with_capacity(8 + text.len());
    answer.extend(MAGIC);
    answer.extend(PROTOCOL_VERSION.to_be_bytes());
    answer.extend([code, u8::try_from(text.len()).expect("cut to 255 bytes")]);
    answer.extend(text);
    in_time(stream.write_all(&answer)).await?;
    in_time(stream.flush()).await?;
    if peer == PROTOCOL_VERSION { Ok(()) } else { Err(PreambleError::Version { peer }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    async fn check(verdict: Verdict, expected: &str) {
        let (mut near, mut far) = duplex(1024);
        let (dialled, accepted) = tokio::join!(dial(&mut near), accept(&mut far, &verdict));
        assert!(accepted.is_ok());
        assert_eq!(dialled.err().map(|error| error.to_string()).unwrap_or_default(), expected);
    }

    #[tokio::test]
    async fn the_dialler_hears_the_verdict() {
        check(Verdict::Welcome, "").await;
        check(Verdict::Busy("10.0.0.1 since 3 s".into()), "the worker is busy: 10.0.0.1 since 3 s").await;
        check(Verdict::Refused("not listed".into()), "the worker refuses this address: not listed").await;
        let long = Verdict::Busy("ä".repeat(400));
        check(long, &format!("the worker is busy: {}", "ä".repeat(127))).await;
    }

    async fn check_dial(answer: &[u8], expected: &str) {
        let (mut near, mut far) = duplex(1024);
        far.write_all(answer).await.unwrap();
        far.shutdown().await.unwrap();
        let text = dial(&mut near).await.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }

    #[tokio::test]
    async fn other_programs_and_versions_are_told_apart() {
        check_dial(b"HTTP/1.1 400 Bad Request\r\n", "no sp1d").await;
        check_dial(b"SP1D\x01\x00\x00\x00", "protocol version 256").await;
        check_dial(b"SP1", "ended at its first bytes").await;
        let (mut near, mut far) = duplex(1024);
        near.write_all(b"SP1D\x00\x09\x00\x00").await.unwrap();
        let error = accept(&mut far, &Verdict::Welcome).await.unwrap_err();
        assert!(matches!(error, PreambleError::Version { peer: 9 }));
        assert_eq!(&near.read_u64().await.unwrap().to_be_bytes()[..6], b"SP1D\x00\x02", "the peer learns our version");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up() {
        let (mut near, _far) = duplex(1024);
        assert!(matches!(dial(&mut near).await, Err(PreambleError::Silent)));
        let (mut near, _far) = duplex(1024);
        assert!(matches!(accept(&mut near, &Verdict::Welcome).await, Err(PreambleError::Silent)));
    }
}
