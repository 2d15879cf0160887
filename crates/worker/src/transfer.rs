//! Artifacts of an attempt over the session's connection.

use crate::{
    cache::Cache,
    engine::{AttemptIo, IoError},
    said::{Said, Saying},
};
use artifacts::{Assembler, Blob, Digest, Encoder};
use async_trait::async_trait;
use bytes::Bytes;
use protocol::{
    Closer, InputValue, Limits, ReceiveError, chunk_from_wire, chunk_to_wire,
    wire::{
        self, ArtifactPart, DeliverPart, FetchRequest, FromWorker, artifact_part, deliver_part, from_worker,
        session_client::SessionClient,
    },
};
use scheduler::AttemptId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
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

/// A session as its attempts see it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: SessionClient<Channel>,
    pub(crate) outbox: mpsc::Sender<FromWorker>,
    pub(crate) closer: Closer,
}

impl Session {
    /// Tells the orchestrator; `false` when the session is over.
    pub(crate) async fn tell(&self, message: from_worker::Message) -> bool {
        self.outbox.send(FromWorker { message: Some(message) }).await.is_ok()
    }

    /// True when the connection ends within moments: what failed just now failed for that.
    async fn is_ending(&self) -> bool {
        timeout(LONGEST_DOUBT, self.closer.ended()).await.is_ok()
    }
}

/// How long a failed call is doubted: the end of a connection may reach its calls before anybody else.
const LONGEST_DOUBT: Duration = Duration::from_secs(2);

/// An attempt's way to the orchestrator: over one session, and when that is lost, over the next.
#[derive(Clone)]
pub(crate) struct Link {
    /// None while no session has the attempt.
    pub(crate) session: watch::Receiver<Option<Session>>,
    pub(crate) cache: Arc<Mutex<Cache>>,
    /// Of the sessions' thread: everything on a connection happens there, whatever thread the engine asks from.
    pub(crate) runtime: Handle,
    /// The attempt was given up: what a stage that cannot be interrupted still asks for fails at once.
    pub(crate) end: CancellationToken,
}

/// The attempt was given up.
#[derive(Debug, thiserror::Error)]
#[error("the session is over")]
struct Over;

impl Link {
    /// The session there is, or the next.
    async fn session(&self) -> Result<Session, Over> {
        let mut sessions = self.session.clone();
        let session = sessions.wait_for(Option::is_some).await.map_err(|_| Over)?;
        Ok(session.clone().expect("it was waited for"))
    }

    /// Does `act` over a session; again over the next one when the connection was lost meanwhile.
    async fn over_sessions<T, E, F>(&self, act: impl Fn(Session) -> F) -> Result<T, String>
    where
        E: Doubtful,
        F: Future<Output = Result<T, E>>,
    {
        tokio::select! {
            () = self.end.cancelled() => Err(Over.to_string()),
            done = self.retry(act) => done,
        }
    }

    async fn retry<T, E, F>(&self, act: impl Fn(Session) -> F) -> Result<T, String>
    where
        E: Doubtful,
        F: Future<Output = Result<T, E>>,
    {
        loop {
            let session = self.session().await.map_err(|over| over.to_string())?;
            match act(session.clone()).await {
                Ok(done) => return Ok(done),
                Err(error) if error.is_doubtful() && session.is_ending().await => {
                    tracing::debug!(%error, "the connection was lost: waiting for the next");
                    // Whoever looks after the attempt takes the session away; until then this one would be found again.
                    let mut sessions = self.session.clone();
                    let gone = sessions.wait_for(|now| now.as_ref().is_none_or(|now| !now.is_same(&session))).await;
                    gone.map_err(|_| Over.to_string())?;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn with_cache<T>(&self, act: impl FnOnce(&mut Cache) -> T) -> T {
        act(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches an artifact and keeps it compressed; its content is checked when it is decoded.
    async fn fetch_blob(&self, attempt: AttemptId, name: &str) -> Result<Blob, String> {
        self.over_sessions(|session| async move { session.fetch_blob(attempt, name).await }).await
    }

    /// Fetches an artifact's content without ever holding both its forms.
    async fn fetch_content(&self, attempt: AttemptId, name: &str) -> Result<Vec<u8>, String> {
        self.over_sessions(|session| async move { session.fetch_content(attempt, name).await }).await
    }

    /// Delivers an artifact: the same one twice when the answer to the first time was lost, which is once to the orchestrator.
    async fn deliver(&self, attempt: AttemptId, name: &str, content: Bytes) -> Result<(), String> {
        self.over_sessions(|session| {
            let (name, content) = (name.to_owned(), content.clone());
            async move { session.deliver(attempt, name, content).await }
        })
        .await
    }
}

/// Errors that may come from the end of a connection.
trait Doubtful: std::fmt::Display {
    fn is_doubtful(&self) -> bool;
}

impl Doubtful for Status {
    /// What the orchestrator itself says has other codes.
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
            // A stream that breaks off looks like this, and like nothing worse.
            Self::Order | Self::Content(artifacts::Error::TooShort { .. }) => true,
            Self::Content(_) | Self::TooLong(_) => false,
        }
    }
}

impl Session {
    fn is_same(&self, other: &Self) -> bool {
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

    /// Fetches an artifact and keeps it compressed; its content is checked when it is decoded.
    async fn fetch_blob(&self, attempt: AttemptId, name: &str) -> Result<Blob, ReceiveError> {
        let (mut parts, digest, length) = self.open(attempt, name).await?;
        let mut assembler = Assembler::new(length);
        while let Some(part) = parts.message().await.map_err(Box::new)? {
            let Some(artifact_part::Part::Chunk(chunk)) = part.part else { return Err(ReceiveError::Order) };
            assembler.push_unchecked(chunk_from_wire(&chunk))?;
        }
        Ok(assembler.finish_unchecked(digest)?)
    }

    /// Fetches an artifact's content without ever holding both its forms.
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
            // The decoder stops at the first bad chunk; its own error says more.
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
        drop(sender);
        Ok(decoder.await.expect("decoding does not panic")?)
    }

    async fn deliver(&self, attempt: AttemptId, name: String, content: Bytes) -> Result<(), Status> {
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

/// The artifacts of one attempt: those fetched beforehand, compressed, and the rest over the connection.
pub(crate) struct SessionIo {
    link: Link,
    said: Arc<Said>,
    attempt: AttemptId,
    prefetched: Mutex<HashMap<String, Blob>>,
}

impl SessionIo {
    /// Fetches the attempt's inputs, so that they are there when the engine asks.
    ///
    /// # Errors
    /// When one cannot be had or is not the one announced.
    pub(crate) async fn prefetch(
        link: Link,
        said: Arc<Said>,
        attempt: AttemptId,
        inputs: &[InputValue],
    ) -> Result<Self, IoError> {
        let mut prefetched = HashMap::new();
        for input in inputs {
            let InputValue::Artifact { name, digest, shared, .. } = input else { continue };
            let failed = |reason: String| IoError { action: "fetch", name: name.clone(), reason };
            let blob = match link.with_cache(|cache| cache.get(*digest)) {
                Some(blob) => blob,
                None => link.fetch_blob(attempt, name).await.map_err(failed)?,
            };
            if blob.digest() != *digest {
                return Err(failed("it is not the artifact that was announced".to_owned()));
            }
            if *shared {
                link.with_cache(|cache| cache.put(blob.clone()));
            }
            prefetched.insert(name.clone(), blob);
        }
        Ok(Self { link, said, attempt, prefetched: Mutex::new(prefetched) })
    }
}

#[async_trait]
impl AttemptIo for SessionIo {
    async fn fetch(&self, name: &str) -> Result<Vec<u8>, IoError> {
        let failed = |reason: String| IoError { action: "fetch", name: name.to_owned(), reason };
        // Taken out: the engine asks once, and a blob without other owner frees its chunks while it is decoded.
        let prefetched = self.prefetched.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let link = self.link.clone();
        let (attempt, wanted) = (self.attempt, name.to_owned());
        let task = self.link.runtime.spawn(async move {
            let Some(blob) = prefetched else {
                return link.fetch_content(attempt, &wanted).await;
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
        let link = self.link.clone();
        let (attempt, owned) = (self.attempt, name.to_owned());
        let task = self.link.runtime.spawn(async move { link.deliver(attempt, &owned, content.into()).await });
        task.await.map_err(|_| failed("the worker is stopping".to_owned()))?.map_err(failed)
    }

    async fn complete_marker(&self) -> Result<(), IoError> {
        let message = wire::MarkerComplete { attempt: self.attempt.0 };
        self.said.say(Saying::Marker, from_worker::Message::MarkerComplete(message)).await;
        Ok(())
    }
}
