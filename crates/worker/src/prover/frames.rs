//! Messages over a socket pair, each with its length before it.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use prost::Message;
use protocol::Limits;
use std::io;
use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// The largest message: the largest artifact, and what stands around it.
const MAX_FRAME_BYTES: u64 = Limits::ARTIFACT_BYTES + (64 << 10);

/// Messages that wait to be written. Those with content are answers to calls, of which an attempt makes few at a time.
const QUEUE: usize = 64;

fn codec() -> LengthDelimitedCodec {
    let longest = usize::try_from(MAX_FRAME_BYTES).unwrap_or(usize::MAX);
    LengthDelimitedCodec::builder().length_field_length(8).max_frame_length(longest).new_codec()
}

/// Reads messages.
pub(super) struct Reader(FramedRead<OwnedReadHalf, LengthDelimitedCodec>);

impl Reader {
    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// If the stream fails, or carries something else.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub(super) async fn next<M: Message + Default>(&mut self) -> io::Result<Option<M>> {
        match self.0.next().await.transpose()? {
            Some(bytes) => M::decode(bytes).map(Some).map_err(io::Error::other),
            None => Ok(None),
        }
    }
}

/// Splits `stream` into what is read and what writes. The second future writes what is sent to the channel, until the
/// channel or the stream ends.
pub(super) fn frames<M>(stream: UnixStream) -> (Reader, mpsc::Sender<M>, impl Future<Output = ()> + Send + 'static)
where
    M: Message + 'static,
{
    let (reading, writing) = stream.into_split();
    let (sender, messages) = mpsc::channel(QUEUE);
    (Reader(FramedRead::new(reading, codec())), sender, write(writing, messages))
}

async fn write<M: Message>(writing: OwnedWriteHalf, mut messages: mpsc::Receiver<M>) {
    let mut sink = FramedWrite::new(writing, codec());
    while let Some(message) = messages.recv().await {
        // The reader of the other end notices the end of the stream, and says so.
        if sink.send(Bytes::from(message.encode_to_vec())).await.is_err() {
            return;
        }
    }
}
