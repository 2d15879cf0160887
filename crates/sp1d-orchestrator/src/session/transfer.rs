//! The artifacts of a session: what a worker fetches, and what it delivers.

use super::worker_session::WorkerSession;
use crate::{
    controller::failure::ProofFailure,
    registry::RegisteredAttempt,
    scope::{attempt_scope, proof_scope},
};
use futures::{Stream, StreamExt, stream};
use sp1d_artifacts::{Assembler, Blob, Digest, StoreError, Stored};
use sp1d_model::hint::one_line;
use sp1d_protocol::{
    MessageLimits, TaskOutput, chunk_from_wire, chunk_to_wire, made_prefix,
    wire::{ArtifactHeader, ArtifactPart, DeliverHeader, DeliverPart, FetchRequest, artifact_part, deliver_part},
};
use sp1d_scheduler::AttemptId;
use std::pin::Pin;
use tonic::{Status, Streaming};

/// The parts of an artifact, as they are sent.
pub(super) type ArtifactStream = Pin<Box<dyn Stream<Item = Result<ArtifactPart, Status>> + Send>>;

/// Returns the status for a request that is not valid.
pub(super) fn invalid(text: impl std::fmt::Display) -> Status {
    Status::invalid_argument(text.to_string())
}

/// Returns the parts of an artifact of the attempt's proof.
pub(super) async fn fetch(session: &WorkerSession, request: FetchRequest) -> Result<ArtifactStream, Status> {
    let FetchRequest { attempt, name } = request;
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
    Ok(Box::pin(parts(blob).inspect(count)))
}

/// Stores an artifact that an attempt uploads.
pub(super) async fn deliver(session: &WorkerSession, mut delivery: Streaming<DeliverPart>) -> Result<(), Status> {
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
    let blob = receive(delivery, header.length).await?;
    session.registry.counters.on_received(blob.stored_bytes());
    let (registry, name) = (session.registry.clone(), header.name);
    let put = move || {
        let kept = registry.store.put(attempt_scope(attempt), name, blob);
        // The attempt may have been discarded meanwhile. This code runs in the closure, because the future around it is
        // dropped when the connection ends.
        if !registry.attempts().contains_key(&attempt) {
            registry.store.remove_scope(attempt_scope(attempt));
        }
        kept
    };
    match tokio::task::spawn_blocking(put).await.expect("storing an artifact does not panic") {
        Ok(()) => Ok(()),
        Err(error @ StoreError::Full { .. }) => {
            // The store is full for every worker, so a retry on another worker would fail as well.
            entry.proof.fail(ProofFailure::Machine(error.to_string()));
            Err(Status::resource_exhausted(one_line(&error.to_string())))
        }
        Err(error) => Err(invalid(one_line(&error.to_string()))),
    }
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
async fn receive(mut delivery: Streaming<DeliverPart>, length: u64) -> Result<Blob, Status> {
    let mut assembler = Assembler::new(length);
    let mut digest = None;
    while let Some(part) = delivery.message().await? {
        match part.part {
            Some(deliver_part::Part::Chunk(chunk)) if digest.is_none() => {
                let checked = tokio::task::spawn_blocking(move || {
                    assembler.push(chunk_from_wire(&chunk))?;
                    Ok::<_, sp1d_artifacts::DecodeError>(assembler)
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
