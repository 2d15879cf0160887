//! Transfers an attempt's artifacts over the session's connection.

use crate::{
    cache::Cache,
    engine::{AttemptIo, IoError, MemoryUse},
    said::{Line, Product, Said, Saying},
};
use artifacts::{Assembler, Blob, Digest, Encoder};
use async_trait::async_trait;
use bytes::Bytes;
use protocol::{
    Assignment, Closer, InputValue, Limits, ReceiveError, chunk_from_wire, chunk_to_wire,
    wire::{
        self, ArtifactPart, DeliverPart, FetchRequest, FromWorker, artifact_part, deliver_part, from_worker,
        session_client::SessionClient,
    },
};
use scheduler::AttemptId;
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming, transport::Channel};

/// The parts of a session that its attempts use. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: SessionClient<Channel>,
    pub(crate) outbox: mpsc::Sender<FromWorker>,
    pub(crate) closer: Closer,
}

impl Session {
    /// Sends a message to the orchestrator. Returns `false` if the session is over.
    pub(crate) async fn tell(&self, message: from_worker::Message) -> bool {
        self.outbox.send(FromWorker { message: Some(message) }).await.is_ok()
    }

    /// Returns true if the connection ends within `LONGEST_DOUBT`. A call that has just failed then failed for this
    /// reason.
    pub(crate) async fn is_ending(&self) -> bool {
        timeout(LONGEST_DOUBT, self.closer.ended()).await.is_ok()
    }
}

/// How long a failed call waits for the connection to end. Calls can fail before the end of the connection is noticed.
const LONGEST_DOUBT: Duration = Duration::from_secs(2);

/// An attempt's path to the orchestrator: the current session or, after a lost connection, the next session.
#[derive(Clone)]
pub(crate) struct Link {
    /// `None` while no session is attached.
    pub(crate) line: watch::Receiver<Option<Line>>,
    pub(crate) cache: Arc<Mutex<Cache>>,
    /// The runtime of the sessions' thread. All I/O on a connection happens there, whatever thread the engine calls
    /// from.
    pub(crate) runtime: Handle,
    /// Cancelled when the attempt is dropped. Requests of a stage that cannot be interrupted then fail at once.
    pub(crate) end: CancellationToken,
}

/// The attempt was dropped.
#[derive(Debug, thiserror::Error)]
#[error("the attempt has ended")]
struct Over;

impl Link {
    /// Returns the current line, or waits for the next one.
    async fn line(&self) -> Result<Line, Over> {
        let mut lines = self.line.clone();
        let line = lines.wait_for(Option::is_some).await.map_err(|_| Over)?;
        Ok(line.clone().expect("`wait_for` returns once there is a line"))
    }

    /// Resolves when no session is attached.
    async fn detached(&self) {
        let mut lines = self.line.clone();
        // An error means that the journal was dropped. The attempt is then over, and no caller waits for it.
        let _ = lines.wait_for(Option::is_none).await;
    }

    /// Runs `act` on a session, and again on the next session if the connection is lost meanwhile.
    async fn over_sessions<T, E, F>(&self, act: impl Fn(Line) -> F) -> Result<T, String>
    where
        E: Doubtful,
        F: Future<Output = Result<T, E>>,
    {
        tokio::select! {
            () = self.end.cancelled() => Err(Over.to_string()),
            done = self.retry(act) => done,
        }
    }

    async fn retry<T, E, F>(&self, act: impl Fn(Line) -> F) -> Result<T, String>
    where
        E: Doubtful,
        F: Future<Output = Result<T, E>>,
    {
        loop {
            let line = self.line().await.map_err(|over| over.to_string())?;
            let session = line.session.clone();
            match act(line).await {
                Ok(done) => return Ok(done),
                Err(error) if error.is_doubtful() && session.is_ending().await => {
                    tracing::debug!(%error, "connection lost; waiting for the next session");
                    // Wait until the journal is detached from the ended session. Otherwise the next try would use it
                    // again.
                    let mut lines = self.line.clone();
                    let gone =
                        lines.wait_for(|now| now.as_ref().is_none_or(|now| !now.session.is_same(&session))).await;
                    gone.map_err(|_| Over.to_string())?;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn with_cache<T>(&self, act: impl FnOnce(&mut Cache) -> T) -> T {
        act(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches an artifact in compressed form. Its content is checked when it is decoded.
    async fn fetch_blob(&self, name: &str) -> Result<Blob, String> {
        self.over_sessions(|line| async move { line.session.fetch_blob(line.attempt, name).await }).await
    }

    /// Fetches an artifact's content. The artifact is decoded while it arrives, so memory never holds both of its
    /// forms.
    async fn fetch_content(&self, name: &str) -> Result<Vec<u8>, String> {
        self.over_sessions(|line| async move { line.session.fetch_content(line.attempt, name).await }).await
    }

    /// Delivers an artifact. If the reply is lost with the connection, the artifact is sent again on the next session,
    /// and the orchestrator counts it once. Returns the attempt number under which the artifact arrived.
    async fn deliver(&self, product: &Product, content: Bytes) -> Result<AttemptId, String> {
        self.over_sessions(|line| {
            let (name, content) = (line.name(product), content.clone());
            async move { line.session.deliver(line.attempt, name, content).await.map(|()| line.attempt) }
        })
        .await
    }
}

/// Errors that the end of a connection may have caused.
pub(crate) trait Doubtful: std::fmt::Display {
    /// Returns true if the end of the connection may have caused this error.
    fn is_doubtful(&self) -> bool;
}

impl Doubtful for Status {
    /// The codes below come only from the orchestrator itself, never from a lost connection.
    fn is_doubtful(&self) -> bool {
        !matches!(
            self.code(),
            Code::NotFound
                | Code::InvalidArgument
                | Code::ResourceExhausted
                | Code::FailedPrecondition
                | Code::OutOfRange
        )
    }
}

impl Doubtful for ReceiveError {
    fn is_doubtful(&self) -> bool {
        match self {
            Self::Call(status) => status.is_doubtful(),
            // A stream that breaks off causes only these two errors.
            Self::Order | Self::Content(artifacts::Error::TooShort { .. }) => true,
            Self::Content(_) | Self::TooLong(_) => false,
        }
    }
}

impl Session {
    pub(crate) fn is_same(&self, other: &Self) -> bool {
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
        if header.length > Limits::ARTIFACT_BYTES {
            return Err(ReceiveError::TooLong(header.length));
        }
        let digest = Digest::from_slice(&header.digest).ok_or(ReceiveError::Order)?;
        Ok((parts, digest, header.length))
    }

    /// Fetches an artifact in compressed form. Its content is checked when it is decoded.
    async fn fetch_blob(&self, attempt: AttemptId, name: &str) -> Result<Blob, ReceiveError> {
        let (mut parts, digest, length) = self.open(attempt, name).await?;
        let mut assembler = Assembler::new(length);
        while let Some(part) = parts.message().await.map_err(Box::new)? {
            let Some(artifact_part::Part::Chunk(chunk)) = part.part else { return Err(ReceiveError::Order) };
            assembler.push_unchecked(chunk_from_wire(&chunk))?;
        }
        Ok(assembler.finish_unchecked(digest)?)
    }

    /// Fetches an artifact's content and decodes it chunk by chunk.
    async fn fetch_content(&self, attempt: AttemptId, name: &str) -> Result<Vec<u8>, ReceiveError> {
        let (mut parts, digest, length) = self.open(attempt, name).await?;
        let (sender, mut receiver) = mpsc::channel::<wire::Chunk>(2);
        let decoder = tokio::task::spawn_blocking(move || {
            let mut assembler = Assembler::new(length);
            let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            while let Some(chunk) = receiver.blocking_recv() {
                assembler.decode_next(&chunk_from_wire(&chunk), &mut content)?;
            }
            assembler.finish_decoded(digest)?;
            Ok::<_, artifacts::Error>(content)
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

    /// Delivers the artifact `name` of `attempt`.
    pub(crate) async fn deliver(&self, attempt: AttemptId, name: String, content: Bytes) -> Result<(), Status> {
        let (sender, receiver) = mpsc::channel(2);
        let length = content.len() as u64;
        let encoder = tokio::task::spawn_blocking(move || {
            let send = |part| sender.blocking_send(DeliverPart { part: Some(part) }).is_ok();
            if !send(deliver_part::Part::Header(wire::DeliverHeader { attempt: attempt.0, name, length })) {
                return;
            }
            let mut encoder = Encoder::new(&content);
            for chunk in encoder.by_ref() {
                if !send(deliver_part::Part::Chunk(chunk_to_wire(chunk))) {
                    return;
                }
            }
            send(deliver_part::Part::End(wire::DeliverEnd { digest: encoder.digest().as_bytes().to_vec().into() }));
        });
        let reply = self.client.clone().deliver(ReceiverStream::new(receiver)).await;
        encoder.await.expect("encoding does not panic");
        reply.map(|_| ())
    }
}

/// The artifacts of one attempt. Inputs are fetched in advance and held compressed. Other artifacts are fetched when
/// the engine asks for them.
pub(crate) struct SessionIo {
    link: Link,
    said: Arc<Said>,
    /// Output names of the first assignment. The engine uses these names even after the attempt is renamed.
    outputs: Vec<String>,
    prefetched: Mutex<HashMap<String, Blob>>,
    memory: OnceLock<MemoryUse>,
}

impl SessionIo {
    /// Returns the attempt's memory use, or `None` if it was not measured.
    pub(crate) fn memory(&self) -> Option<MemoryUse> {
        self.memory.get().copied()
    }

    /// Fetches the attempt's inputs, so that they are present when the engine asks for them.
    ///
    /// # Errors
    /// Fails if an input cannot be fetched, or if it is not the announced artifact.
    pub(crate) async fn prefetch(link: Link, said: Arc<Said>, assignment: &Assignment) -> Result<Self, IoError> {
        let mut prefetched = HashMap::new();
        for input in &assignment.inputs {
            let InputValue::Artifact { name, digest, shared, .. } = input else { continue };
            let failed = |reason: String| IoError { action: "fetch", name: name.clone(), reason };
            let blob = match link.with_cache(|cache| cache.get(*digest)) {
                Some(blob) => blob,
                None => link.fetch_blob(name).await.map_err(failed)?,
            };
            if blob.digest() != *digest {
                return Err(failed("its digest differs from the announced digest".to_owned()));
            }
            if *shared {
                link.with_cache(|cache| cache.put(blob.clone()));
            }
            prefetched.insert(name.clone(), blob);
        }
        Ok(Self {
            link,
            said,
            outputs: assignment.outputs.clone(),
            prefetched: Mutex::new(prefetched),
            memory: OnceLock::new(),
        })
    }
}

#[async_trait]
impl AttemptIo for SessionIo {
    async fn fetch(&self, name: &str) -> Result<Vec<u8>, IoError> {
        let failed = |reason: String| IoError { action: "fetch", name: name.to_owned(), reason };
        // Take the blob out: the engine asks only once, and a blob without another owner frees its chunks while it is
        // decoded.
        let prefetched = self.prefetched.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let (link, said, wanted) = (self.link.clone(), self.said.clone(), name.to_owned());
        let task = self.link.runtime.spawn(async move {
            let Some(blob) = prefetched else {
                let lost = async {
                    link.detached().await;
                    // No later run of the orchestrator has an artifact with this name.
                    said.depends_on_its_orchestrator();
                    std::future::pending::<Infallible>().await
                };
                return tokio::select! {
                    content = link.fetch_content(&wanted) => content,
                    never = lost => match never {},
                };
            };
            let digest = blob.digest();
            let decoded = tokio::task::spawn_blocking(move || blob.decode()).await.expect("decoding does not panic");
            decoded.map_err(|error| {
                link.with_cache(|cache| cache.forget(digest));
                error.to_string()
            })
        });
        task.await.map_err(|_| failed("the worker is stopping".to_owned()))?.map_err(failed)
    }

    async fn deliver(&self, name: &str, content: Vec<u8>) -> Result<(), IoError> {
        let failed = |reason: String| IoError { action: "deliver", name: name.to_owned(), reason };
        let (link, said, content) = (self.link.clone(), self.said.clone(), Bytes::from(content));
        let product = match self.outputs.iter().position(|output| output == name) {
            Some(place) => Product::Asked(place),
            None => Product::Made(name.to_owned()),
        };
        let kept = said.keep(product.clone(), content.clone());
        let task = self.link.runtime.spawn(async move {
            tokio::select! {
                delivered = link.deliver(&product, content) => {
                    let attempt = delivered?;
                    kept.into_iter().for_each(|place| said.arrived(place, attempt));
                }
                // The journal keeps the artifact for the next session, so the engine need not wait.
                () = link.detached(), if kept.is_some() => {}
            }
            Ok::<_, String>(())
        });
        task.await.map_err(|_| failed("the worker is stopping".to_owned()))?.map_err(failed)
    }

    async fn complete_marker(&self) -> Result<(), IoError> {
        self.said.say(Saying::Marker).await;
        Ok(())
    }

    fn note_memory(&self, memory: MemoryUse) {
        // Only the first value counts.
        let _ = self.memory.set(memory);
    }
}
