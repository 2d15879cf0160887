//! Artifacts of an attempt over the session's connection.

use crate::{
    cache::Cache,
    engine::{AttemptIo, IoError},
};
use artifacts::{Assembler, Blob, Digest, Encoder};
use async_trait::async_trait;
use protocol::{
    InputValue, Limits, ReceiveError, chunk_from_wire, chunk_to_wire,
    wire::{
        self, ArtifactPart, DeliverPart, FetchRequest, FromWorker, artifact_part, deliver_part, from_worker,
        session_client::SessionClient,
    },
};
use scheduler::AttemptId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

/// What a session shares with its attempts.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) client: SessionClient<Channel>,
    pub(crate) outbox: mpsc::Sender<FromWorker>,
    pub(crate) cache: Arc<Mutex<Cache>>,
    /// Of the session's thread: everything on the connection happens there, whatever thread the engine asks from.
    pub(crate) runtime: Handle,
}

impl Link {
    /// Tells the orchestrator; `false` when the session is over.
    pub(crate) async fn tell(&self, message: from_worker::Message) -> bool {
        self.outbox.send(FromWorker { message: Some(message) }).await.is_ok()
    }

    fn with_cache<T>(&self, act: impl FnOnce(&mut Cache) -> T) -> T {
        act(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner))
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

    async fn deliver(&self, attempt: AttemptId, name: String, content: Vec<u8>) -> Result<(), tonic::Status> {
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
    attempt: AttemptId,
    prefetched: Mutex<HashMap<String, Blob>>,
}

impl SessionIo {
    /// Fetches the attempt's inputs, so that they are there when the engine asks.
    ///
    /// # Errors
    /// When one cannot be had or is not the one announced.
    pub(crate) async fn prefetch(link: Link, attempt: AttemptId, inputs: &[InputValue]) -> Result<Self, IoError> {
        let mut prefetched = HashMap::new();
        for input in inputs {
            let InputValue::Artifact { name, digest, shared, .. } = input else { continue };
            let failed = |reason: String| IoError { action: "fetch", name: name.clone(), reason };
            let blob = match link.with_cache(|cache| cache.get(*digest)) {
                Some(blob) => blob,
                None => link.fetch_blob(attempt, name).await.map_err(|error| failed(error.to_string()))?,
            };
            if blob.digest() != *digest {
                return Err(failed("it is not the artifact that was announced".to_owned()));
            }
            if *shared {
                link.with_cache(|cache| cache.put(blob.clone()));
            }
            prefetched.insert(name.clone(), blob);
        }
        Ok(Self { link, attempt, prefetched: Mutex::new(prefetched) })
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
                return link.fetch_content(attempt, &wanted).await.map_err(|error| error.to_string());
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
        let failed = |reason: &str| IoError { action: "deliver", name: name.to_owned(), reason: reason.to_owned() };
        let link = self.link.clone();
        let (attempt, owned) = (self.attempt, name.to_owned());
        let task = self.link.runtime.spawn(async move { link.deliver(attempt, owned, content).await });
        let reply = task.await.map_err(|_| failed("the worker is stopping"))?;
        reply.map_err(|status| failed(status.message()))
    }

    async fn complete_marker(&self) -> Result<(), IoError> {
        let message = wire::MarkerComplete { attempt: self.attempt.0 };
        if self.link.tell(from_worker::Message::MarkerComplete(message)).await {
            return Ok(());
        }
        Err(IoError { action: "complete", name: "marker".to_owned(), reason: "the session is over".to_owned() })
    }
}
