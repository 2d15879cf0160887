//! Sends messages over a socket pair, each preceded by its length.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use prost::Message;
use sp1d_protocol::MessageLimits;
use std::io;
use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

sp1d_model::limits! {
    /// Maximum size of a message: the largest artifact, plus 64 KiB for the fields around it.
    const MAX_FRAME_BYTES: u64 = MessageLimits::ARTIFACT_BYTES + (64 << 10); Bytes by Prover;
    /// Maximum number of messages that wait to be written. Few of them contain an artifact, because an attempt makes
    /// few calls at a time.
    const MAX_QUEUED_MESSAGES: usize = 64; Count by Prover;
}

fn codec() -> LengthDelimitedCodec {
    let longest = usize::try_from(MAX_FRAME_BYTES).unwrap_or(usize::MAX);
    LengthDelimitedCodec::builder().length_field_length(8).max_frame_length(longest).new_codec()
}

/// Reads messages from the socket.
pub(super) struct FrameReader(FramedRead<OwnedReadHalf, LengthDelimitedCodec>);

impl FrameReader {
    /// Returns the next message, or `None` at the end of the stream.
    ///
    /// # Errors
    /// Fails if the stream fails, or if a message is invalid.
    ///
    /// # Cancel safety
    /// No message is lost if the future is dropped.
    pub(super) async fn next<M: Message + Default>(&mut self) -> io::Result<Option<M>> {
        match self.0.next().await.transpose()? {
            Some(bytes) => M::decode(bytes).map(Some).map_err(io::Error::other),
            None => Ok(None),
        }
    }
}

/// Splits `stream` into a reader, a channel for outgoing messages, and a future that writes these messages. The future
/// ends when the channel is closed or the stream fails.
pub(super) fn frames<M>(stream: UnixStream) -> (FrameReader, mpsc::Sender<M>, impl Future<Output = ()> + Send + 'static)
where
    M: Message + 'static,
{
    let (reading, writing) = stream.into_split();
    let (sender, messages) = mpsc::channel(MAX_QUEUED_MESSAGES);
    (FrameReader(FramedRead::new(reading, codec())), sender, write(writing, messages))
}

async fn write<M: Message>(writing: OwnedWriteHalf, mut messages: mpsc::Receiver<M>) {
    let mut sink = FramedWrite::new(writing, codec());
    while let Some(message) = messages.recv().await {
        // The reader on this side also notices the end of the stream, and reports it.
        if sink.send(Bytes::from(message.encode_to_vec())).await.is_err() {
            return;
        }
    }
}
