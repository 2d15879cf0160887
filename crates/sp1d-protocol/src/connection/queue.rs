//! The messages to an orchestrator that waits for its turn at a worker, on the connection that it will use.
//!
//! ```text
//!   worker       ─► length:u16 QueueNotice     at least once a second
//!   orchestrator ◄─ 1:u8                       the reply to each notice
//! ```
//!
//! After the reply to the notice with place 0, HTTP/2 starts on the same connection. The worker sends the next notice
//! only after the reply to the one before, so no bytes of the queue are left then.

use super::{holder::HolderId, preamble::PreambleError};
use crate::wire::QueueNotice;
use prost::Message;
use sp1d_model::clean_line;
use std::{fmt, io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

sp1d_model::limits! {
    /// Maximum time to wait for each notice, and for each reply. Long enough for a machine whose cores all prove.
    const NOTICE_TIMEOUT: Duration = Duration::from_secs(5); Time by EitherSide;
    /// Maximum length of an encoded notice.
    const MAX_NOTICE_BYTES: usize = 1024; Bytes by Worker;
    /// Maximum number of characters of a holder's description.
    const MAX_HOLDER_CHARACTERS: usize = 200; Count by Worker;
}

/// The orchestrator's reply to each notice.
const REPLY: u8 = 1;

/// The place of an orchestrator in a worker's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePlace {
    /// The place, from 1.
    pub place: u32,
    /// The orchestrator that the worker serves, for people.
    pub holder: String,
    /// Identifies that orchestrator; `None` until it has introduced itself to the worker.
    pub holder_id: Option<HolderId>,
    /// How long the worker has served it, in whole seconds.
    pub held: Duration,
}

impl fmt::Display for QueuePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serving {} for {} s, place {} in its queue", self.holder, self.held.as_secs(), self.place)
    }
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> Result<T, PreambleError> {
    let ended = timeout(NOTICE_TIMEOUT, step).await;
    ended.map_err(|_| PreambleError::SilentInQueue(NOTICE_TIMEOUT))?.map_err(PreambleError::Io)
}

/// Tells a waiting orchestrator its place, or with `None` that its turn has come. Returns when it has replied.
///
/// # Errors
/// Fails if the connection failed, if the orchestrator sends something else, or if it is silent for 5 s.
pub async fn send_place(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    place: Option<&QueuePlace>,
) -> Result<(), PreambleError> {
    let notice = match place {
        Some(QueuePlace { place, holder, holder_id, held }) => QueueNotice {
            place: (*place).max(1),
            holder: holder.chars().take(MAX_HOLDER_CHARACTERS).collect(),
            held_seconds: held.as_secs(),
            holder_id: holder_id.map(|id| id.as_bytes().to_vec().into()).unwrap_or_default(),
        },
        None => QueueNotice::default(),
    };
    let content = notice.encode_to_vec();
    let length = u16::try_from(content.len()).expect("the description of the holder was cut");
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(content);
    in_time(stream.write_all(&frame)).await?;
    in_time(stream.flush()).await?;
    if in_time(stream.read_u8()).await? == REPLY { Ok(()) } else { Err(PreambleError::Queue) }
}

/// Receives the place of this orchestrator in a worker's queue, and replies. Returns `None` if its turn has come.
///
/// # Errors
/// Fails if the connection failed, if the worker sends something else, or if it is silent for 5 s.
pub async fn receive_place(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<Option<QueuePlace>, PreambleError> {
    let length = usize::from(in_time(stream.read_u16()).await?);
    if length > MAX_NOTICE_BYTES {
        return Err(PreambleError::Queue);
    }
    let mut content = vec![0; length];
    in_time(stream.read_exact(&mut content)).await?;
    let QueueNotice { place, holder, held_seconds, holder_id } =
        QueueNotice::decode(content.as_slice()).map_err(|_| PreambleError::Queue)?;
    in_time(stream.write_all(&[REPLY])).await?;
    in_time(stream.flush()).await?;
    let (holder, holder_id) = (clean_line(&holder, MAX_HOLDER_CHARACTERS), HolderId::from_slice(&holder_id));
    Ok((place > 0).then(|| QueuePlace { place, holder, holder_id, held: Duration::from_secs(held_seconds) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    async fn check(sent: Option<QueuePlace>, expected: Option<QueuePlace>) {
        let (mut near, mut far) = duplex(4096);
        let (sent, received) = tokio::join!(send_place(&mut far, sent.as_ref()), receive_place(&mut near));
        assert!(sent.is_ok(), "{sent:?}");
        assert_eq!(received.unwrap(), expected);
    }

    fn place(holder: &str) -> QueuePlace {
        QueuePlace { place: 2, holder: holder.to_owned(), holder_id: None, held: Duration::from_secs(7) }
    }

    #[tokio::test]
    async fn the_orchestrator_learns_its_place_and_its_turn() {
        check(Some(place("sp1d")), Some(place("sp1d"))).await;
        let identified = QueuePlace { holder_id: Some(HolderId::of(b"orchestrator")), ..place("sp1d") };
        check(Some(identified.clone()), Some(identified)).await;
        check(None, None).await;
        assert_eq!(place("sp1d").to_string(), "serving sp1d for 7 s, place 2 in its queue");
    }

    #[tokio::test]
    async fn a_hostile_description_is_cut_and_cleaned() {
        let long = "ä".repeat(5000);
        check(Some(place(&long)), Some(place(&"ä".repeat(MAX_HOLDER_CHARACTERS)))).await;
        check(Some(place("a\n\u{1b}[31mb")), Some(place("a  [31mb"))).await;
    }

    async fn check_received(bytes: &[u8]) {
        let (mut near, mut far) = duplex(4096);
        far.write_all(bytes).await.unwrap();
        assert!(matches!(receive_place(&mut near).await, Err(PreambleError::Queue)));
    }

    #[tokio::test]
    async fn an_invalid_notice_is_refused() {
        check_received(&u16::MAX.to_be_bytes()).await;
        check_received(b"\x00\x02\xff\xff").await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence_in_the_queue_ends_the_wait() {
        let (mut near, _far) = duplex(4096);
        assert!(matches!(receive_place(&mut near).await, Err(PreambleError::SilentInQueue(_))));
        let (mut near, _far) = duplex(4096);
        assert!(matches!(send_place(&mut near, None).await, Err(PreambleError::SilentInQueue(_))));
    }
}
