//! The calls of a worker in its session: the handshake, the control stream, and the artifacts that it fetches and
//! delivers.

use super::{introduction::WorkerIntroduction, worker_session::WorkerSession};
use crate::{
    pool::connected::ConnectedWorker,
    registry::RegisteredAttempt,
    runner::failure::ProofFailure,
    scope::{attempt_scope, proof_scope},
};
use futures::{Stream, StreamExt, stream};
use sp1d_artifacts::{Assembler, Blob, DecodeError, Digest, StoreError, Stored};
use sp1d_model::hint::one_line;
use sp1d_protocol::{
    Build, MessageLimits, TaskOutput, chunk_from_wire, chunk_to_wire, made_prefix,
    wire::{
        ArtifactHeader, ArtifactPart, DeliverHeader, DeliverPart, DeliverReply, FetchRequest, FromWorker, HelloReply,
        HelloRequest, ToWorker, artifact_part, deliver_part, session_server::Session,
    },
};
use sp1d_scheduler::AttemptId;
use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Maximum number of messages that wait for the worker to read them. A worker with more waiting messages counts as
/// lost.
const MAX_WAITING_MESSAGES: usize = 1024;

/// The parts of an artifact, as they are sent.
type ArtifactStream = Pin<Box<dyn Stream<Item = Result<ArtifactPart, Status>> + Send>>;

/// The calls of a worker in its session.
#[derive(Clone)]
pub(super) struct SessionService(pub(super) Arc<WorkerSession>);

#[tonic::async_trait]
impl Session for SessionService {
    type ControlStream = ReceiverStream<Result<ToWorker, Status>>;
    type FetchStream = ArtifactStream;

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let session = &self.0;
        let mut request = request.into_inner();
        let worker: Build = request.build.take().unwrap_or_default().into();
        let settings = &session.registry.settings;
        let mut reply = HelloReply {
            build: Some(settings.build.clone().into()),
            refusal: String::new(),
            session: session.id.0,
            heartbeat_ms: u32::try_from(settings.heartbeat.as_millis()).unwrap_or(u32::MAX),
            silence_ms: u32::try_from(settings.silence().as_millis()).unwrap_or(u32::MAX),
            orchestrator: session.registry.instance.to_vec().into(),
            lineage: settings.lineage.map_or_else(Default::default, |lineage| lineage.to_vec().into()),
            name: settings.name.clone(),
        };
        if let Err(mismatch) = settings.build.check_worker(&worker) {
            reply.refusal = one_line(&mismatch.to_string());
            session.close_reason.set(reply.refusal.clone());
            session.report_handshake(Err(mismatch));
            return Ok(Response::new(reply));
        }
        let introduction = WorkerIntroduction::new(request, &session.address, settings);
        if session.introduction.set(introduction).is_err() {
            return Err(invalid("the session already has a hello"));
        }
        Ok(Response::new(reply))
    }

    async fn control(&self, request: Request<Streaming<FromWorker>>) -> Result<Response<Self::ControlStream>, Status> {
        let session = &self.0;
        let introduction = session.introduction.get().ok_or_else(|| invalid("the hello must come first"))?.clone();
        if session.controlled.swap(true, Ordering::Relaxed) {
            return Err(invalid("the session already has a control stream"));
        }
        let (outbox, messages) = mpsc::channel(MAX_WAITING_MESSAGES);
        let registry = &session.registry;
        let worker = ConnectedWorker {
            id: registry.worker_id(&introduction.name, &session.address),
            name: introduction.name.clone(),
            address: session.address.clone(),
            kinds: introduction.kinds,
            missing: introduction.missing.clone(),
            outbox: outbox.clone(),
            closer: session.closer.clone(),
            close_reason: session.close_reason.clone(),
            ready: AtomicBool::new(false),
            threads: introduction.threads,
            slots: introduction.slots,
            memory_bytes: introduction.memory_bytes,
            memory: Mutex::new(introduction.memory),
            cpu: introduction.cpu.clone(),
            done: AtomicU64::new(0),
            failed_attempts: AtomicU64::new(0),
            let_go: AtomicBool::new(false),
        };
        registry.counters.on_session();
        registry.workers().insert(session.id, Arc::new(worker));
        registry.disconnected().remove(&session.address, &introduction.name);
        // The worker is registered first, because the caller may ask at once which tasks it supports.
        session.report_handshake(Ok(introduction.name.clone()));
        session.tasks.spawn(session.clone().keep_alive(outbox));
        let inbound = request.into_inner();
        let (receiving, ended) = (session.clone().receive(inbound, introduction), session.closer.clone());
        session.tasks.spawn(async move {
            tokio::select! {
                () = receiving => {}
                () = ended.ended() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    /// Sends the parts of an artifact of the attempt's proof.
    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let session = &self.0;
        let FetchRequest { attempt, name } = request.into_inner();
        let attempt = session.attempt(attempt)?;
        let scope = proof_scope(attempt.proof.id);
        let stored =
            session.registry.store.get(scope, &name).ok_or_else(|| Status::not_found("the artifact does not exist"))?;
        let blob = match stored {
            Stored::Memory(blob) => blob,
            Stored::Disk(spilled) => {
                let loaded = tokio::task::spawn_blocking(move || spilled.load()).await.expect("loading does not panic");
                loaded.map_err(|error| {
                    attempt.proof.fail(ProofFailure::Machine(error.to_string()));
                    Status::not_found(one_line(&error.to_string()))
                })?
            }
        };
        let registry = session.registry.clone();
        let count = move |part: &Result<ArtifactPart, Status>| {
            if let Ok(ArtifactPart { part: Some(artifact_part::Part::Chunk(chunk)) }) = part {
                registry.counters.on_sent(chunk.content.len() as u64);
            }
        };
        let parts: ArtifactStream = Box::pin(parts(blob).inspect(count));
        Ok(Response::new(parts))
    }

    /// Stores an artifact that an attempt uploads.
    async fn deliver(&self, request: Request<Streaming<DeliverPart>>) -> Result<Response<DeliverReply>, Status> {
        let (session, mut delivery) = (&self.0, request.into_inner());
        let first = delivery.message().await?.and_then(|part| part.part);
        let Some(deliver_part::Part::Header(header)) = first else {
            return Err(invalid("a delivery must start with a header"));
        };
        let attempt = AttemptId(header.attempt);
        let entry = session.attempt(header.attempt)?;
        check_delivery(&entry, attempt, &header)?;
        let store = &session.registry.store;
        let delivered = store.scope_stats(attempt_scope(attempt));
        if delivered.artifacts >= MessageLimits::DELIVERIES || delivered.bytes > MessageLimits::DELIVERED_BYTES {
            let (artifacts, bytes) = (MessageLimits::DELIVERIES, MessageLimits::DELIVERED_BYTES);
            let text = format!("the attempt delivered more than {artifacts} artifacts or {bytes} bytes");
            return Err(Status::resource_exhausted(text));
        }
        let blob = receive_blob(delivery, header.length).await?;
        session.registry.counters.on_received(blob.stored_bytes());
        let (registry, name) = (session.registry.clone(), header.name);
        let put = move || {
            let kept = registry.store.put(attempt_scope(attempt), name, blob);
            // The attempt may have been discarded meanwhile. This code runs in the closure, because the future around
            // it is dropped when the connection ends.
            if !registry.attempts().contains_key(&attempt) {
                registry.store.remove_scope(attempt_scope(attempt));
            }
            kept
        };
        match tokio::task::spawn_blocking(put).await.expect("storing an artifact does not panic") {
            Ok(()) => Ok(Response::new(DeliverReply {})),
            Err(error @ StoreError::Full { .. }) => {
                // The store is full for every worker, so a retry on another worker would fail as well.
                entry.proof.fail(ProofFailure::Machine(error.to_string()));
                Err(Status::resource_exhausted(one_line(&error.to_string())))
            }
            Err(error) => Err(invalid(one_line(&error.to_string()))),
        }
    }
}

/// Returns the status for a request that is not valid.
fn invalid(text: impl std::fmt::Display) -> Status {
    Status::invalid_argument(text.to_string())
}

fn parts(blob: Blob) -> impl Stream<Item = Result<ArtifactPart, Status>> + Send {
    let header = ArtifactHeader { digest: blob.digest().as_bytes().to_vec().into(), length: blob.len() };
    let count = blob.chunks().len();
    let chunks = (0..count).map(move |at| artifact_part::Part::Chunk(chunk_to_wire(blob.chunks()[at].clone())));
    stream::once(async { artifact_part::Part::Header(header) })
        .chain(stream::iter(chunks))
        .map(|part| Ok(ArtifactPart { part: Some(part) }))
}

/// Checks that an attempt uploads either an output that it was asked for, or an artifact that it made itself. Any
/// other name belongs to another task. Also checks the length.
fn check_delivery(entry: &RegisteredAttempt, attempt: AttemptId, header: &DeliverHeader) -> Result<(), Status> {
    let asked = entry.outputs.find(&header.name);
    let is_made = || {
        [Some(attempt), entry.resumes].into_iter().flatten().any(|maker| header.name.starts_with(&made_prefix(maker)))
    };
    if header.name.len() > MessageLimits::NAME_BYTES || asked.is_none() && !is_made() {
        return Err(invalid("the artifact does not belong to this attempt"));
    }
    let max_bytes = match asked {
        Some(TaskOutput::Result) => MessageLimits::RESULT_BYTES,
        Some(TaskOutput::DeferredEvents) | None => MessageLimits::ARTIFACT_BYTES,
    };
    if header.length > max_bytes {
        return Err(invalid(format!("the artifact has {} bytes, and at most {max_bytes} are allowed", header.length)));
    }
    Ok(())
}

/// Receives the chunks of a delivery. Each chunk is checked on a thread that may block, and no thread waits for the
/// next chunk.
async fn receive_blob(mut delivery: Streaming<DeliverPart>, length: u64) -> Result<Blob, Status> {
    let mut assembler = Assembler::new(length);
    let mut digest = None;
    while let Some(part) = delivery.message().await? {
        match part.part {
            Some(deliver_part::Part::Chunk(chunk)) if digest.is_none() => {
                let checked = tokio::task::spawn_blocking(move || {
                    assembler.push(chunk_from_wire(&chunk))?;
                    Ok::<_, DecodeError>(assembler)
                });
                assembler = checked.await.expect("assembling does not panic").map_err(invalid)?;
            }
            Some(deliver_part::Part::End(end)) if digest.is_none() => digest = Digest::from_slice(&end.digest),
            _ => return Err(invalid("the parts of the artifact arrived in the wrong order")),
        }
    }
    let digest = digest.ok_or_else(|| invalid("the delivery ended early"))?;
    assembler.finish(digest).map_err(invalid)
}
