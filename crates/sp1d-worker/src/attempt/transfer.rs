//! Transfers messages and artifacts over one session's connection.

use bytes::Bytes;
use sp1d_artifacts::{Assembler, Blob, Digest, Encoder};
use sp1d_model::AttemptId;
use sp1d_protocol::{
    Closer, MessageLimits, ReceiveError, chunk_from_wire, chunk_to_wire,
    wire::{
        self, ArtifactPart, FetchRequest, FromWorker, UploadPart, artifact_part, from_worker,
        session_client::SessionClient, upload_part,
    },
};
use std::{fmt::Display, time::Duration};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

/// How long a failed call waits for the connection to end. Calls can fail before the end of the connection is noticed.
const CONNECTION_END_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause after a temporary error. The orchestrator has already waited a minute before it reports one.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// An upload of at most this size is encoded before it is sent, which takes about 0.25 ms. A blocking thread would cost
/// a thread switch for each part, and would wait for the connection in between.
const SMALL_UPLOAD_BYTES: usize = 64 << 10;

/// The parts of a session that its attempts use. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SessionHandle {
    pub(crate) client: SessionClient<Channel>,
    pub(crate) outbox: mpsc::Sender<FromWorker>,
    pub(crate) closer: Closer,
}

/// Errors after which a transfer may be tried again.
pub(super) trait TransferError: Display {
    /// Returns true if the end of the connection may have caused this error.
    fn may_be_connection_loss(&self) -> bool;

    /// Returns true if the same transfer may succeed on the same connection later.
    fn is_temporary(&self) -> bool;
}

impl TransferError for Status {
    /// The codes below come only from the orchestrator itself, never from a lost connection.
    fn may_be_connection_loss(&self) -> bool {
        !matches!(
            self.code(),
            Code::NotFound
                | Code::InvalidArgument
                | Code::ResourceExhausted
                | Code::FailedPrecondition
                | Code::OutOfRange
        )
    }

    /// Other uploads had all of the orchestrator's memory for uploads. No other call ends with this code.
    fn is_temporary(&self) -> bool {
        self.code() == Code::Aborted
    }
}

impl TransferError for ReceiveError {
    fn may_be_connection_loss(&self) -> bool {
        match self {
            Self::Call(status) => status.may_be_connection_loss(),
            // A stream that breaks off causes only these two errors.
            Self::Order | Self::Content(sp1d_artifacts::DecodeError::TooShort { .. }) => true,
            Self::Content(_) | Self::TooLong(_) => false,
        }
    }

    fn is_temporary(&self) -> bool {
        false
    }
}

impl SessionHandle {
    /// Returns a session whose messages reach no one.
    #[cfg(test)]
    pub(crate) fn unconnected() -> Self {
        let (_, closer) = sp1d_protocol::Connection::new(tokio::io::empty());
        let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        Self { client: SessionClient::new(channel), outbox: mpsc::channel(1).0, closer }
    }

    /// Sends a message to the orchestrator. Returns `false` if the session is over.
    pub(crate) async fn send(&self, message: from_worker::Message) -> bool {
        self.outbox.send(FromWorker { message: Some(message) }).await.is_ok()
    }

    /// Returns true if the connection ends within `CONNECTION_END_TIMEOUT`. A call that has just failed then failed for
    /// this reason.
    pub(super) async fn is_ending(&self) -> bool {
        timeout(CONNECTION_END_TIMEOUT, self.closer.ended()).await.is_ok()
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.outbox.same_channel(&other.outbox)
    }

    async fn open(
        &self,
        attempt: AttemptId,
        name: &str,
    ) -> Result<(Streaming<ArtifactPart>, Digest, u64), ReceiveError> {
        let request = FetchRequest { attempt: attempt.0, name: name.to_owned() };
        let mut parts = self.client.clone().fetch(request).await.map_err(Box::new)?.into_inner();
        let first = parts.message().await.map_err(Box::new)?.and_then(|part| part.part);
        let Some(artifact_part::Part::Header(header)) = first else { return Err(ReceiveError::Order) };
        if header.length > MessageLimits::ARTIFACT_BYTES {
            return Err(ReceiveError::TooLong(header.length));
        }
        let digest = Digest::from_slice(&header.digest).ok_or(ReceiveError::Order)?;
        Ok((parts, digest, header.length))
    }

    /// Fetches an artifact in compressed form. Its content is checked when it is decoded.
    pub(super) async fn fetch_blob(&self, attempt: AttemptId, name: &str) -> Result<Blob, ReceiveError> {
        let (mut parts, digest, length) = self.open(attempt, name).await?;
        let mut assembler = Assembler::new(length);
        while let Some(part) = parts.message().await.map_err(Box::new)? {
            let Some(artifact_part::Part::Chunk(chunk)) = part.part else { return Err(ReceiveError::Order) };
            assembler.push_unchecked(chunk_from_wire(chunk))?;
        }
        Ok(assembler.finish_unchecked(digest)?)
    }

    /// Fetches an artifact's content and decodes it chunk by chunk.
    pub(super) async fn fetch_content(&self, attempt: AttemptId, name: &str) -> Result<Vec<u8>, ReceiveError> {
        let (mut parts, digest, length) = self.open(attempt, name).await?;
        let (sender, mut receiver) = mpsc::channel::<wire::Chunk>(2);
        let decoder = tokio::task::spawn_blocking(move || {
            let mut assembler = Assembler::new(length);
            let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            while let Some(chunk) = receiver.blocking_recv() {
                assembler.decode_next(&chunk_from_wire(chunk), &mut content)?;
            }
            assembler.finish_decoded(digest)?;
            Ok::<_, sp1d_artifacts::DecodeError>(content)
        });
        while let Some(part) = parts.message().await.map_err(Box::new)? {
            let Some(artifact_part::Part::Chunk(chunk)) = part.part else { return Err(ReceiveError::Order) };
            // The decoder stops at the first bad chunk. Its own error, returned below, is more precise.
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
        drop(sender);
        Ok(decoder.await.expect("decoding does not panic")?)
    }

    /// Uploads the artifact `name` of `attempt`.
    pub(super) async fn upload(&self, attempt: AttemptId, name: String, content: Bytes) -> Result<(), Status> {
        if content.len() <= SMALL_UPLOAD_BYTES {
            let mut parts = Vec::new();
            encode_parts(attempt, name, &content, |part| {
                parts.push(part);
                true
            });
            return self.client.clone().upload(tokio_stream::iter(parts)).await.map(|_| ());
        }
        let (sender, receiver) = mpsc::channel(2);
        let encoder = tokio::task::spawn_blocking(move || {
            encode_parts(attempt, name, &content, |part| sender.blocking_send(part).is_ok());
        });
        let reply = self.client.clone().upload(ReceiverStream::new(receiver)).await;
        encoder.await.expect("encoding does not panic");
        reply.map(|_| ())
    }
}

/// Encodes the artifact `name` of `attempt`. Passes each part of its upload to `send` until `send` returns false. So
/// the parts of a large upload are never in memory together.
fn encode_parts(attempt: AttemptId, name: String, content: &[u8], mut send: impl FnMut(UploadPart) -> bool) {
    let mut send = |part| send(UploadPart { part: Some(part) });
    let length = content.len() as u64;
    if !send(upload_part::Part::Header(wire::UploadHeader { attempt: attempt.0, name, length })) {
        return;
    }
    let mut encoder = Encoder::new(content);
    for chunk in encoder.by_ref() {
        if !send(upload_part::Part::Chunk(chunk_to_wire(chunk))) {
            return;
        }
    }
    send(upload_part::Part::End(wire::UploadEnd { digest: encoder.digest().as_bytes().to_vec().into() }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_artifacts::CHUNK_BYTES;
    use sp1d_protocol::IncomingArtifact;

    /// Returns the parts that encoding `content` makes before `max_parts` are sent.
    fn parts_of(content: &[u8], max_parts: usize) -> Vec<UploadPart> {
        let mut parts = Vec::new();
        encode_parts(AttemptId(7), "name".to_owned(), content, |part| {
            parts.push(part);
            parts.len() < max_parts
        });
        parts
    }

    /// Checks that an upload of `length` bytes has a header, this many chunks and an end, and that they make the
    /// artifact.
    #[track_caller]
    fn check_upload(length: usize, chunks: usize) {
        let content = vec![7_u8; length];
        let mut parts = parts_of(&content, usize::MAX).into_iter();
        let header = wire::UploadHeader { attempt: 7, name: "name".to_owned(), length: length as u64 };
        assert_eq!(parts.next().unwrap().part, Some(upload_part::Part::Header(header)));
        assert_eq!(parts.len(), chunks + 1);
        let mut artifact = IncomingArtifact::new(length as u64);
        parts.for_each(|part| artifact.push(part).unwrap());
        assert_eq!(artifact.finish().unwrap().decode().unwrap(), content);
    }

    #[test]
    fn the_parts_of_an_upload_make_the_artifact() {
        check_upload(0, 0);
        check_upload(1, 1);
        check_upload(SMALL_UPLOAD_BYTES, 1);
        check_upload(CHUNK_BYTES + 1, 2);
    }

    #[test]
    fn encoding_ends_when_the_receiver_has_left() {
        let content = vec![7_u8; 3 * CHUNK_BYTES];
        for max_parts in 1..=4 {
            assert_eq!(parts_of(&content, max_parts).len(), max_parts);
        }
    }
}
