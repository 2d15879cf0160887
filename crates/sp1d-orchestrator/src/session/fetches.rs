//! Sends the artifacts that attempts read.

use super::{part_timeout::with_part_timeout, worker_session::WorkerSession};
use crate::{
    runner::failure::ProofFailure, scope::try_scope, state::shared_state::SharedState, tries::running::RunningTry,
};
use sp1d_artifacts::{Blob, Chunk, SpilledBlob, SpilledChunks, StoreError, Stored};
use sp1d_model::hint::one_line;
use sp1d_protocol::{
    chunk_to_wire,
    wire::{ArtifactHeader, ArtifactPart, FetchRequest, artifact_part::Part},
};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// The parts of an artifact, as they are sent.
pub(super) type ArtifactStream = ReceiverStream<Result<ArtifactPart, Status>>;

impl WorkerSession {
    /// Returns the parts of an artifact that an attempt may read. Those of a spilled artifact are read while they are
    /// sent, so at most two chunks of a stream are in memory. If the worker does not read a part in time, the stream
    /// ends early.
    pub(super) fn send_artifact(&self, request: &FetchRequest) -> Result<ArtifactStream, Status> {
        let FetchRequest { attempt, name } = request;
        let registered = self.attempt(*attempt)?;
        let missing = || Status::not_found("the artifact does not exist, or the task does not read it");
        if !registered.rights.may_read(name) {
            return Err(missing());
        }
        let stored = self.shared.store.get(try_scope(registered.running_try.id), name).ok_or_else(missing)?;
        // Without room for a part, the task below waits for the worker. A waiting chunk of an artifact in memory shares
        // the store's bytes, so the header and a small artifact may wait together.
        let room = match stored {
            Stored::Memory(_) => 2,
            Stored::Disk(_) => 1,
        };
        let (parts, stream) = mpsc::channel(room);
        let transfer = Transfer { parts, shared: self.shared.clone(), running_try: registered.running_try.clone() };
        let ended = self.closer.clone();
        self.background.spawn(async move {
            tokio::select! {
                () = transfer.send_all(stored) => {}
                () = ended.ended() => {}
            }
        });
        Ok(ReceiverStream::new(stream))
    }
}

/// An artifact on its way to a worker.
struct Transfer {
    parts: mpsc::Sender<Result<ArtifactPart, Status>>,
    shared: Arc<SharedState>,
    running_try: Arc<RunningTry>,
}

impl Transfer {
    /// Sends the header and all chunks, until the worker stops reading.
    async fn send_all(&self, stored: Stored) {
        let facts = stored.describe();
        let header = ArtifactHeader { digest: facts.digest.as_bytes().to_vec().into(), length: facts.len };
        if !self.send(Part::Header(header)).await {
            return;
        }
        match stored {
            Stored::Memory(blob) => self.send_from_memory(&blob).await,
            Stored::Disk(spilled) => self.send_from_disk(spilled).await,
        }
    }

    /// Sends all chunks of an artifact in memory. They do not block, and a switch to a blocking thread for each takes
    /// longer than to send a small one.
    async fn send_from_memory(&self, blob: &Blob) {
        for chunk in blob.chunks() {
            if !self.send_chunk(chunk.clone()).await {
                return;
            }
        }
    }

    /// Sends all chunks of a spilled artifact. Each is read on a thread that may block.
    async fn send_from_disk(&self, spilled: SpilledBlob) {
        let mut chunks = match on_blocking_thread(move || spilled.chunks()).await {
            Ok(chunks) => chunks,
            Err(error) => return self.fail(&error).await,
        };
        loop {
            let next: Option<Result<Chunk, StoreError>>;
            (chunks, next) = on_blocking_thread(move || next_of(chunks)).await;
            match next {
                None => return,
                Some(Ok(chunk)) => {
                    if !self.send_chunk(chunk).await {
                        return;
                    }
                }
                Some(Err(error)) => return self.fail(&error).await,
            }
        }
    }

    /// Sends a chunk and counts its bytes. Returns false if the worker does not read it in time, or has stopped
    /// reading.
    async fn send_chunk(&self, chunk: Chunk) -> bool {
        let bytes = chunk.bytes.len() as u64;
        let sent = self.send(Part::Chunk(chunk_to_wire(chunk))).await;
        if sent {
            self.shared.counters.on_sent(bytes);
        }
        sent
    }

    /// Returns false if the worker does not read the part in time, or has stopped reading.
    async fn send(&self, part: Part) -> bool {
        let sent = with_part_timeout(self.parts.send(Ok(ArtifactPart { part: Some(part) }))).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Fails the try, because an artifact that cannot be read back is the fault of this machine.
    async fn fail(&self, error: &StoreError) {
        self.running_try.fail(ProofFailure::Machine(error.to_string()));
        let failed = self.parts.send(Err(Status::not_found(one_line(&error.to_string()))));
        // The worker may have stopped reading.
        let _ = with_part_timeout(failed).await;
    }
}

/// Returns the next chunk, and the chunks after it.
fn next_of(mut chunks: SpilledChunks) -> (SpilledChunks, Option<Result<Chunk, StoreError>>) {
    let next = chunks.next();
    (chunks, next)
}

async fn on_blocking_thread<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(read).await.expect("reading an artifact does not panic")
}
